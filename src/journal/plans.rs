//! What pull requests would do: the newest plan of each head commit, as JSON.

use sqlx::{Any, Row as _, Transaction};

use super::{Journal, JournalError, database, within};

/// How many plans are kept.
const PLANS_KEPT: i64 = 200;

impl Journal {
    /// Keeps a plan, in place of an earlier one of the same head commit.
    pub async fn put_plan(&self, head: &str, made: i64, report: &str) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        let pool = self.pool()?;
        let written = async {
            let mut all = self.begin(&pool).await?;
            put(&mut all, head, made, report).await?;
            all.commit().await
        };
        within("write a plan into the journal", written).await
    }

    /// Returns the newest plans, the oldest of them first.
    pub async fn plans(&self, most: i64) -> Result<Vec<String>, JournalError> {
        let act = "read the plans in the journal";
        let rows = sqlx::query("SELECT report FROM plans ORDER BY made DESC LIMIT $1").bind(most);
        let rows = within(act, rows.fetch_all(&self.pool()?)).await?;
        rows.iter().rev().map(|row| row.try_get("report").map_err(database(act))).collect()
    }
}

pub(super) async fn put(
    all: &mut Transaction<'_, Any>,
    head: &str,
    made: i64,
    report: &str,
) -> Result<(), sqlx::Error> {
    let put = "INSERT INTO plans (head, made, report) VALUES ($1, $2, $3) \
               ON CONFLICT (head) DO UPDATE SET made = excluded.made, report = excluded.report";
    let put = sqlx::query(put).bind(head.to_owned()).bind(made).bind(report.to_owned());
    put.execute(&mut **all).await?;
    let trim = "DELETE FROM plans WHERE head NOT IN (SELECT head FROM plans ORDER BY made DESC LIMIT $1)";
    sqlx::query(trim).bind(PLANS_KEPT).execute(&mut **all).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scratch;
    use super::*;

    #[tokio::test]
    async fn a_head_has_one_plan_and_the_oldest_go() {
        let (_folder, journal) = scratch().await;
        for made in 0..PLANS_KEPT + 5 {
            journal.put_plan(&made.to_string(), made, "old").await.unwrap();
        }
        journal.put_plan("100", PLANS_KEPT + 5, "new").await.unwrap();
        let plans = journal.plans(1000).await.unwrap();
        assert_eq!(
            (plans.len(), plans.last().unwrap().as_str()),
            (usize::try_from(PLANS_KEPT).unwrap(), "new")
        );
        assert_eq!(plans.iter().filter(|plan| *plan == "new").count(), 1);
    }
}
