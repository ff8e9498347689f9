//! Paths with slashes. Nothing here touches a file system.

use super::{Function, text};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("base", 1, |_, values| Ok(Value::from(base(text(values, 0)?)))),
    Function::exactly("osBase", 1, |_, values| Ok(Value::from(base(text(values, 0)?)))),
    Function::exactly("dir", 1, |_, values| Ok(Value::from(dir(text(values, 0)?)))),
    Function::exactly("osDir", 1, |_, values| Ok(Value::from(dir(text(values, 0)?)))),
    Function::exactly("clean", 1, |_, values| Ok(Value::from(clean(text(values, 0)?)))),
    Function::exactly("osClean", 1, |_, values| Ok(Value::from(clean(text(values, 0)?)))),
    Function::exactly("ext", 1, |_, values| Ok(Value::from(ext(text(values, 0)?)))),
    Function::exactly("osExt", 1, |_, values| Ok(Value::from(ext(text(values, 0)?)))),
    Function::exactly("isAbs", 1, |_, values| Ok(Value::Bool(text(values, 0)?.starts_with('/')))),
    Function::exactly("osIsAbs", 1, |_, values| Ok(Value::Bool(text(values, 0)?.starts_with('/')))),
];

fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or("", |dot| &name[dot..])
}

/// Go's `path.Clean`: no empty or `.` parts, `..` resolved as far as possible.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::assert_prints;

    #[test]
    fn paths() {
        assert_prints(
            &json!({}),
            &[
                ("base \"a/b.txt\"", "b.txt"),
                ("base \"/\"", "/"),
                ("dir \"a/b/../c.txt\"", "a"),
                ("dir \"a\"", "."),
                ("dir \"/a\"", "/"),
                ("clean \"/a/./b//../c/\"", "/a/c"),
                ("clean \"../a\"", "../a"),
                ("ext \"a/b.tar.gz\"", ".gz"),
                ("ext \"a.b/c\"", ""),
                ("isAbs \"/a\"", "true"),
            ],
        );
    }
}
