//! A plan as the comment on a pull request.

use super::PlanReport;

impl PlanReport {
    /// Writes the plan as GitHub's Markdown, at most 60,000 characters; the rest is at the link.
    pub fn markdown(&self, link: Option<&str>) -> String {
        let text = self.text(false).replace("```", "'''");
        let rest = link.map(|link| format!("\n[the whole plan]({link})\n")).unwrap_or_default();
        let kept: String = text.chars().take(59_000).collect();
        format!("### storekeeper\n\n```\n{kept}```\n{rest}")
    }
}
