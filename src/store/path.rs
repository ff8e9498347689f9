//! Which paths of a watched repository matter, and what their names mean.

use crate::names::{CHARTS_FOLDER, FLEET_FILE, STORES_FOLDER, StoreId};

/// Where value files lie in a watched repository.
pub const VALUES_FOLDER: &str = "values";

/// Says whether the git edge should read a path: the fleet file, everything that is or could be meant as a
/// store file, every YAML file under `values/`, and everything under `charts/`. `path` is relative to the root, with `/` between folders; a
/// folder is asked for with a `/` at its end, to know whether to look inside.
/// Symbolic links, submodules and files that are too large are asked for like files, and handed over as
/// [`super::FileContent::Unreadable`].
pub fn wants(path: &str) -> bool {
    match path.split_once('/') {
        None => {
            path.eq_ignore_ascii_case(STORES_FOLDER)
                || split_extension(path).is_some_and(|(stem, _)| stem.eq_ignore_ascii_case(fleet_stem()))
        }
        Some((folder, rest)) if folder.eq_ignore_ascii_case(STORES_FOLDER) => {
            // Without an extension it may be a link or submodule in the place of a folder.
            split_extension(rest).is_some() || !rest.rsplit('/').next().unwrap_or(rest).contains('.')
        }
        Some(_) if is_chart_file(path) => true,
        Some((folder, rest)) => {
            let is_folder = rest.is_empty() || rest.ends_with('/');
            folder == VALUES_FOLDER && (is_folder || split_extension(rest).is_some())
        }
    }
}

/// Whether a path belongs to a chart in the repository: such files may be larger than others, and are read only if the
/// fleet file names the chart.
pub fn is_chart_file(path: &str) -> bool {
    path.split_once('/').is_some_and(|(folder, _)| folder == CHARTS_FOLDER)
}

/// What a path under `stores/` (in whatever case) stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// `stores/<id>.yaml`, as it should be.
    File(StoreId),
    /// A file that is not where, or called as, a store file must be, but whose name tells which store is meant.
    Misplaced(StoreId, Misplaced),
    /// A YAML file whose name can't be a store's, and why.
    Nameless(String),
    /// Not a YAML file.
    Other,
}

/// What is wrong with the place of a store file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// It lies in a folder inside `stores/`.
    Deeper,
    /// Its extension is not `.yaml`.
    Extension,
    /// Its name, or that of the folder, has upper-case letters.
    UpperCase,
}

/// Reads the name of a file under `stores/`; `None` for any other path.
pub(super) fn claim(path: &str) -> Option<Claim> {
    let (folder, rest) = path.split_once('/')?;
    if !folder.eq_ignore_ascii_case(STORES_FOLDER) {
        return None;
    }
    let (folders, name) = rest.rsplit_once('/').map_or((None, rest), |(folders, name)| (Some(folders), name));
    let Some((stem, extension)) = split_extension(name) else {
        return Some(Claim::Other);
    };
    let lower = stem.to_ascii_lowercase();
    let id = match lower.parse::<StoreId>() {
        Ok(id) => id,
        Err(error) => return Some(Claim::Nameless(error.to_string())),
    };
    Some(if folders.is_some() {
        Claim::Misplaced(id, Misplaced::Deeper)
    } else if extension.eq_ignore_ascii_case("yml") {
        Claim::Misplaced(id, Misplaced::Extension)
    } else if lower != stem || extension != "yaml" || folder != STORES_FOLDER {
        Claim::Misplaced(id, Misplaced::UpperCase)
    } else {
        Claim::File(id)
    })
}

/// Says whether a path looks like the fleet file under a wrong name, such as `storekeeper.yml`.
pub(super) fn is_misnamed_fleet_file(path: &str) -> bool {
    !path.contains('/') && path != FLEET_FILE && !path.eq_ignore_ascii_case(STORES_FOLDER) && wants(path)
}

/// Splits `acme.yaml` into `acme` and `yaml`; `None` when the extension is not one of YAML, in any case.
pub(super) fn split_extension(path: &str) -> Option<(&str, &str)> {
    let (stem, extension) = path.rsplit_once('.')?;
    ["yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known)).then_some((stem, extension))
}

fn fleet_stem() -> &'static str {
    FLEET_FILE.trim_end_matches(".yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    #[test]
    fn the_git_edge_reads_what_could_be_meant_for_us_and_nothing_else() {
        for path in [
            "storekeeper.yaml",
            "storekeeper.yml",
            "Storekeeper.yaml",
            "stores",
            "stores/acme.yaml",
            "stores/acme.yml",
            "stores/eu/acme.yaml",
            "Stores/acme.yaml",
            "stores/eu",
            "values/production.yaml",
            "values/eu/production.yaml",
            "charts/",
            "charts/webshop/Chart.yaml",
            "charts/webshop/files/logo.png",
        ] {
            assert!(wants(path), "{path}");
        }
        for path in [
            "README.md",
            "stores/README.md",
            "stores/.gitkeep",
            "stores/logo.png",
            "src/stores/acme.yaml",
            "values/notes.txt",
            ".github/workflows/check.yaml",
        ] {
            assert!(!wants(path), "{path}");
        }
    }

    #[test]
    fn the_file_name_tells_which_store_is_meant_even_when_it_is_wrong() {
        let misplaced = |text, what| Some(Claim::Misplaced(id(text), what));
        assert_eq!(claim("stores/acme.yaml"), Some(Claim::File(id("acme"))));
        assert_eq!(claim("stores/acme.yml"), misplaced("acme", Misplaced::Extension));
        assert_eq!(claim("stores/acme.YAML"), misplaced("acme", Misplaced::UpperCase));
        assert_eq!(claim("stores/Acme.yaml"), misplaced("acme", Misplaced::UpperCase));
        assert_eq!(claim("Stores/acme.yaml"), misplaced("acme", Misplaced::UpperCase));
        assert_eq!(claim("stores/eu/acme.yaml"), misplaced("acme", Misplaced::Deeper));
        assert_eq!(claim("stores/README.md"), Some(Claim::Other));
        assert_eq!(claim("README.md"), None);
        for path in ["stores/a b.yaml", "stores/.yaml", "stores/..yaml", "stores/ä.yaml", "stores/a.b.yaml"]
        {
            assert!(matches!(claim(path), Some(Claim::Nameless(_))), "{path}");
        }
    }
}
