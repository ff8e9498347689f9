//! A new store: checks a name and a host against the fleet, writes the file, and leads to the forge's own editor with it. Nothing
//! is made here.

use std::fmt::Write as _;

use askama::Template;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::view::Shell;
use crate::names::{API_VERSION, FLEET_FILE, Host, STORES_FOLDER, StoreId};
use crate::web::WebState;
use crate::web::problem::{Body, Problem};

/// The longest name that shoppers see.
const NAME_MAX: usize = 100;

/// A store that somebody thinks of.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Idea {
    /// Its name, which is the file's name too.
    #[param(required = false, example = "acme")]
    name: String,
    /// The name that shoppers see; without it the name.
    #[param(required = false)]
    display_name: String,
    /// Where it answers; without it the name under the fleet's domain.
    #[param(required = false)]
    host: String,
}

/// What there is to say of a store that somebody thinks of.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::web) struct Checked {
    /// What is wrong with its name.
    name: Option<String>,
    /// What is wrong with the name that shoppers see.
    display_name: Option<String>,
    /// What is wrong with its host.
    host: Option<String>,
    /// Where it would answer, when nothing is wrong and that is known.
    address: Option<String>,
    /// The path of its file, when nothing is wrong.
    path: Option<String>,
    /// The text of its file, when nothing is wrong.
    file: Option<String>,
    /// Where the forge makes that file, when nothing is wrong and it can.
    create: Option<String>,
    /// What is left to do there, when the forge does not take name and text both.
    create_left: Option<String>,
}

#[derive(Template)]
#[template(path = "new.html")]
struct NewPage {
    shell: Shell,
    idea: Idea,
    checked: Checked,
    domain: Option<String>,
    /// Whether anything was filled in: an empty form is no mistake.
    is_begun: bool,
}

/// Answers with the form, and what came of it.
pub(in crate::web) async fn show(
    State(state): State<WebState>,
    idea: Result<Query<Idea>, QueryRejection>,
) -> Result<Response, Problem> {
    let idea = understood(idea)?;
    let checked = judge(&state, &idea);
    let is_begun = !(idea.name.is_empty() && idea.host.is_empty() && idea.display_name.is_empty());
    let domain = state.board.read(|picture| picture.fleet.domain.clone());
    let shell = Shell::new("New store".to_owned(), 0, "new");
    Ok(answer(&NewPage { shell, idea, checked, domain, is_begun }))
}

/// Checks a store that somebody thinks of against the fleet, and writes its file.
#[utoipa::path(
    get, path = "/api/v1/check", tag = "stores", params(Idea),
    responses((status = 200, body = Checked), (status = 400, description = "The question is not understood", body = Body, content_type = "application/problem+json"))
)]
pub(in crate::web) async fn check(
    State(state): State<WebState>,
    idea: Result<Query<Idea>, QueryRejection>,
) -> Result<Json<Checked>, Problem> {
    Ok(Json(judge(&state, &understood(idea)?)))
}

fn understood(idea: Result<Query<Idea>, QueryRejection>) -> Result<Idea, Problem> {
    let Query(idea) = idea.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let trimmed = |text: String| text.trim().to_owned();
    Ok(Idea {
        name: trimmed(idea.name),
        display_name: trimmed(idea.display_name),
        host: trimmed(idea.host).to_lowercase(),
    })
}

fn judge(state: &WebState, idea: &Idea) -> Checked {
    let Idea { name, display_name, host } = idea;
    let (domain, cluster) =
        state.board.read(|picture| (picture.fleet.domain.clone(), picture.fleet.cluster.clone()));
    let id = store_id(state, name);
    let wrong_name = shown_name(display_name);
    let usual =
        domain.filter(|_| host.is_empty()).zip(id.as_ref().ok()).map(|(domain, id)| format!("{id}.{domain}"));
    let wanted = usual.clone().unwrap_or_else(|| host.clone());
    let wrong_host = if wanted.is_empty() { None } else { host_problem(state, &wanted).err() };
    let mut checked = Checked {
        name: id.as_ref().err().cloned(),
        display_name: wrong_name,
        host: wrong_host,
        address: None,
        path: None,
        file: None,
        create: None,
        create_left: None,
    };
    if let (Ok(id), None, None) = (id, &checked.display_name, &checked.host) {
        let file = file(&id, display_name, host, cluster.as_deref().unwrap_or_default());
        let page = state.links.as_ref().and_then(|links| links.create(&id, &file));
        (checked.create, checked.create_left) = page.map_or((None, None), |page| (Some(page.url), page.left));
        checked.path = Some(format!("{STORES_FOLDER}/{id}.yaml"));
        checked.address = (!wanted.is_empty()).then_some(wanted);
        checked.file = Some(file);
    }
    checked
}

fn store_id(state: &WebState, name: &str) -> Result<StoreId, String> {
    if name.is_empty() {
        return Err("a store needs a name".to_owned());
    }
    let id: StoreId = name.parse().map_err(|error| format!("{error}"))?;
    if let Some(cluster) = state.board.read(|picture| picture.fleet.elsewhere.get(&id).cloned()) {
        return Err(format!("there is a store of that name on cluster {cluster}: {STORES_FOLDER}/{id}.yaml"));
    }
    if state.board.read(|picture| picture.stores.contains_key(&id)) {
        return Err(format!(
            "there is a store of that name: {STORES_FOLDER}/{id}.yaml, or what is left of it in the cluster"
        ));
    }
    Ok(id)
}

fn shown_name(name: &str) -> Option<String> {
    if name.chars().count() > NAME_MAX {
        return Some(format!("at most {NAME_MAX} characters"));
    }
    name.chars().any(char::is_control).then(|| "one line of text without control characters".to_owned())
}

fn host_problem(state: &WebState, host: &str) -> Result<(), String> {
    let host: Host = host.parse().map_err(|error| format!("{error}"))?;
    // Before the first commit was read nothing is known of domains.
    let stranger = state.board.read(|picture| {
        let (domain, more) = (picture.fleet.domain.as_deref()?, &picture.fleet.domains);
        let is_ours = host.domains().any(|it| it == domain || more.contains(it));
        (!is_ours).then(|| domain.to_owned())
    });
    if let Some(domain) = stranger {
        return Err(format!(
            "it lies in no domain of the fleet, which are {domain} and those of spec.domains in {FLEET_FILE}"
        ));
    }
    let taken = state.board.read(|picture| {
        let has = |url: &str| {
            let (_, rest) = url.split_once("://").unwrap_or(("", url));
            rest.split(['/', ':']).next() == Some(host.as_str())
        };
        picture.stores.values().find(|store| store.url.as_deref().is_some_and(has)).map(|it| it.name.clone())
    });
    taken.map_or(Ok(()), |store| Err(format!("store {store} answers there already")))
}

/// Writes a store file. Texts are in JSON's quotes, which YAML reads as they are.
fn file(id: &StoreId, display_name: &str, host: &str, cluster: &str) -> String {
    let mut text =
        format!("apiVersion: {API_VERSION}\nkind: Store\nmetadata:\n  name: {}\n", quoted(id.as_str()));
    let fields = [("displayName", display_name), ("host", host), ("cluster", cluster)];
    let given: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if !given.is_empty() {
        text.push_str("spec:\n");
    }
    for (field, value) in given {
        let _ = writeln!(text, "  {field}: {}", quoted(value));
    }
    text
}

/// Quotes a text where YAML would take it for something else.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_was_asked_for_whatever_yaml_makes_of_such_words() {
        let acme = "acme".parse().unwrap();
        assert_eq!(
            file(&acme, "", "", ""),
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: acme\n"
        );
        let full = file(&"007".parse().unwrap(), "Bond: \"James\" # 1", "shop.example.com", "");
        assert!(full.contains("  name: \"007\"\n"), "{full}");
        assert!(
            full.ends_with("spec:\n  displayName: \"Bond: \\\"James\\\" # 1\"\n  host: shop.example.com\n"),
            "{full}"
        );
        let placed = file(&acme, "", "", "eu-1");
        assert!(placed.ends_with("spec:\n  cluster: eu-1\n"), "{placed}");
        assert_eq!(quoted("no"), "\"no\"");
    }
}
