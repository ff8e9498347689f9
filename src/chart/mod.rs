//! Loads Helm charts and renders them in-process: bytes in, objects out.
//!
//! Nothing here reads files, the clock, the environment or randomness; all of that comes in with the
//! [`RenderRequest`]. A [`Chart`] is parsed once and rendered many times, also from several threads. The
//! reference is Helm 4.3.1; `tests/chart_parity.rs` compares with it.
//!
//! | to read about | open |
//! |---|---|
//! | loading files and subcharts, packed or not | `load.rs`, `ignore.rs`, `archive.rs` |
//! | Chart.yaml | `metadata.rs` |
//! | values files, coalescing, nulls, globals | `values.rs` |
//! | conditions, tags, aliases, imported values | `dependencies.rs` |
//! | `values.schema.json` | `schema.rs` |
//! | the order of templates, their context | `render.rs`, `capabilities.rs` |
//! | splitting output into objects, hooks | `documents.rs`, `hook.rs` |
//! | parsing templates, what is checked at load | `template.rs` |
//! | executing templates: dot, variables, nil, `include`, `tpl` | `exec.rs`, `fields.rs`, `items.rs`, `quoted.rs` |
//! | values with Go's kinds and reference semantics | `value.rs`, `binary.rs`, `objects.rs`, `dates.rs`, `dates/`, `durations.rs` |
//! | `printf` and how values print | `format.rs`, `format/` |
//! | the functions | `functions/`, a file for each theme |
//! | YAML 1.1 in, go-yaml's layout out; JSON out | `yaml/`, `json.rs` |
//! | where lines end | `lines.rs` |
//! | bounds on steps, memory, output, depth | `budget.rs` |
//! | errors | `error.rs` |

use std::collections::BTreeMap;
use std::sync::Arc;

mod archive;
mod binary;
mod budget;
mod capabilities;
mod dates;
mod dependencies;
mod documents;
mod durations;
mod error;
mod exec;
mod fields;
mod format;
mod functions;
mod hook;
mod ignore;
mod items;
mod json;
mod lines;
mod load;
mod metadata;
mod objects;
mod quoted;
mod render;
mod reuse;
mod schema;
mod template;
mod value;
mod values;
mod yaml;

pub use budget::RenderLimits;
pub use capabilities::Capabilities;
pub use error::{ChartError, Place, RenderError, SchemaViolation, Snippet, TemplateError};
pub use functions::LookupQuery;
pub use hook::{Hook, HookDeletePolicy, HookEvent};
pub use render::{Crd, Release, RenderRequest, RenderedObject, Rendering, parse_output};
pub use values::parse_values;
pub use yaml::YamlError;

/// Writes JSON as YAML in the layout of Helm's `toYaml`, a line break at the end.
pub fn to_yaml(value: &serde_json::Value) -> String {
    yaml::to_text(value)
}

use archive::Allowance;
use functions::version_matches;
use load::Files;

/// A chart, parsed.
pub struct Chart {
    root: load::ChartNode,
    files: Arc<Files>,
    /// The files of packed subcharts.
    unpacked: Files,
    version: String,
    app_version: String,
    digest: String,
    reuse: reuse::Reuse,
}

impl Chart {
    /// Loads a chart from its files. Paths are relative to the chart's root and separated by `/`: `Chart.yaml`,
    /// `templates/service.yaml`, `charts/sub/Chart.yaml`, `charts/sub-1.0.0.tgz`.
    pub fn load(files: BTreeMap<String, Vec<u8>>) -> Result<Self, ChartError> {
        let mut allowance = Allowance::default();
        let unpacked = load::unpack_subcharts(load::without_ignored(&files)?, &mut allowance)?;
        Self::assemble(files, unpacked)
    }

    /// Loads a packed chart, a `.tgz`. As in Helm its `.helmignore` has no effect: what packed it looked at that.
    pub fn load_archive(packed: &[u8]) -> Result<Self, ChartError> {
        let mut allowance = Allowance::default();
        let files = load::unpack(packed, &mut allowance)?;
        let unpacked = load::unpack_subcharts(files.clone(), &mut allowance)?;
        Self::assemble(files, unpacked)
    }

    fn assemble(files: Files, mut unpacked: Files) -> Result<Self, ChartError> {
        let root = load::load(&unpacked)?;
        let (version, app_version) = (root.text("version").to_owned(), root.text("appVersion").to_owned());
        let digest = load::digest(&files);
        unpacked.retain(|path, _| !files.contains_key(path));
        Ok(Self {
            root,
            files: Arc::new(files),
            unpacked,
            version,
            app_version,
            digest,
            reuse: reuse::Reuse::default(),
        })
    }

    /// Returns the chart's name.
    pub fn name(&self) -> &str {
        self.root.name()
    }

    /// Returns the chart's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the version of the application in the chart; empty if Chart.yaml has none.
    pub fn app_version(&self) -> &str {
        &self.app_version
    }

    /// Returns the SHA-256 of all paths and files in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns a file of the chart, such as `values-local.yaml`, also one that `.helmignore` leaves out.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Returns all files of the chart as they came, packed subcharts packed.
    pub fn files(&self) -> Arc<BTreeMap<String, Vec<u8>>> {
        Arc::clone(&self.files)
    }

    /// Whether a template of the chart, or of a chart in it, calls a function, such as `tpl`. A name in a comment counts
    /// too.
    pub fn calls(&self, function: &str) -> bool {
        let files = self.files.iter().chain(&self.unpacked);
        let templates = files.filter(|(path, _)| path.split('/').any(|part| part == "templates"));
        templates.into_iter().any(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            let actions = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or(rest));
            actions.into_iter().any(|action| calls(action, function))
        })
    }

    /// Renders the chart.
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<Rendering, RenderError> {
        render::render(&self.root, &self.reuse, request)
    }
}

/// Whether an action names a function, texts in quotes left out.
fn calls(action: &str, function: &str) -> bool {
    let mut quote = None;
    let mut code = String::with_capacity(action.len());
    let mut escaped = false;
    for c in action.chars() {
        match quote {
            _ if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => {
                quote = Some(c);
                code.push(' ');
            }
            None => code.push(c),
        }
    }
    code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '$')).any(|word| word == function)
}

impl std::fmt::Debug for Chart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chart")
            .field("name", &self.name())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CHART_YAML: (&str, &str) =
        ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: 7\n");

    fn load(files: &[(&str, &str)]) -> Result<Chart, ChartError> {
        Chart::load(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    fn render(files: &[(&str, &str)], values: &Value) -> Result<Rendering, RenderError> {
        let mut files = files.to_vec();
        files.push(CHART_YAML);
        load(&files).expect("the chart loads").render(&RenderRequest {
            release: Release {
                name: "rel".to_owned(),
                namespace: "space".to_owned(),
                is_upgrade: true,
                revision: 3,
            },
            values: values.as_object().expect("values are a map"),
            capabilities: &Capabilities::new("v1.33.4-gke.1", ["v1".to_owned()]),
            lookup: &|query| json!({"data": {"found": query.name, "count": 2}}),
            entropy: &|bytes| bytes.fill(1),
            now: 0,
            limits: RenderLimits::default(),
        })
    }

    fn refusal(files: &[(&str, &str)], values: &Value) -> String {
        render(files, values).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_chart_tells_its_name_versions_files_and_digest() {
        let chart = load(&[CHART_YAML, ("values-local.yaml", "a: 1\n")]).unwrap();
        assert_eq!((chart.name(), chart.version(), chart.app_version()), ("shop", "1.2.3", "7"));
        assert_eq!(chart.file("values-local.yaml"), Some(b"a: 1\n".as_slice()));
        assert_eq!(chart.digest().len(), 64);
        let other = load(&[CHART_YAML, ("values-local.yaml", "a: 2\n")]).unwrap();
        assert_ne!(chart.digest(), other.digest());
    }

    #[test]
    fn a_chart_tells_which_functions_its_templates_call() {
        let calls = |path: &str, text: &str| load(&[CHART_YAML, (path, text)]).unwrap().calls("tpl");
        for text in
            ["{{ tpl .Values.a . }}", "{{- $a := (tpl .x $) }}", "{{ .a | tpl }}", "{{ `}}` }}{{ .x | tpl }}"]
        {
            assert!(calls("templates/_a.tpl", text), "{text}");
        }
        for text in ["tpl {{ .a }}", "{{ include \"tpl\" . }}", "{{ .Values.tpl }}", "{{ $tpl := 1 }}"] {
            assert!(!calls("templates/_a.tpl", text), "{text}");
        }
        assert!(!calls("files/a.yaml", "{{ tpl .Values.a . }}"));
    }

    #[test]
    fn a_chart_that_cannot_work_does_not_load() {
        let error = |files: &[(&str, &str)]| load(files).unwrap_err().to_string();
        assert_eq!(error(&[]), "load the chart: Chart.yaml is missing");
        assert_eq!(
            error(&[("Chart.yaml", "name: a\nversion: x\n")]),
            "load Chart.yaml: `version` must be a semantic version such as 1.2.3"
        );
        assert!(
            error(&[CHART_YAML, ("values.yaml", "a: [\n")])
                .starts_with("load values.yaml: parse YAML at line ")
        );
        assert_eq!(
            error(&[CHART_YAML, ("values.yaml", "- a\n")]),
            "load values.yaml: parse YAML at line 1, column 1: the values must be a map"
        );
        let broken = [("Chart.yaml".to_owned(), b"name: \xff\n".to_vec())].into();
        assert_eq!(Chart::load(broken).unwrap_err().to_string(), "load Chart.yaml: is not UTF-8");
        assert!(error(&[CHART_YAML, ("values.schema.json", "{")]).starts_with("load values.schema.json: "));
        assert_eq!(
            error(&[CHART_YAML, ("templates/a.yaml", "a: 1\nb: {{ env \"HOME\" }}")]),
            "parse shop/templates/a.yaml:2:7: function `env` is not defined"
        );
        assert_eq!(
            error(&[CHART_YAML, ("charts/x.tgz", "")]),
            "load charts/x.tgz: the archive cannot be unpacked: unexpected end of file"
        );
        assert_eq!(
            error(&[CHART_YAML, ("charts/README.md", "")]),
            "load charts/README.md: is no chart, and only charts may lie here"
        );
        let needs = ("Chart.yaml", "name: a\nversion: 1.0.0\ndependencies: [{name: sub, version: 1.x}]\n");
        assert_eq!(error(&[needs]), "load Chart.yaml: the dependency `sub` is not in charts/");
        let deep: String = "charts/s/".repeat(12) + "Chart.yaml";
        let mut nested = vec![CHART_YAML];
        let paths: Vec<String> = (1..12).map(|depth| "charts/s/".repeat(depth) + "Chart.yaml").collect();
        nested.extend(paths.iter().map(|path| (path.as_str(), CHART_YAML.1)));
        nested.push((&deep, CHART_YAML.1));
        assert!(error(&nested).contains("subcharts are nested deeper than 8"));
    }

    #[test]
    fn an_error_names_template_line_column_and_the_calls_that_led_there() {
        let files = [
            (
                "templates/_helpers.tpl",
                "{{- define \"inner\" }}\n  {{ required \"set store.id\" .Values.none }}\n{{ end }}\n{{- define \"outer\" }}{{ include \"inner\" . }}{{ end }}",
            ),
            ("templates/a.yaml", "# a\nx: {{ include \"outer\" . | quote }}"),
        ];
        assert_eq!(
            refusal(&files, &json!({})),
            "render shop/templates/_helpers.tpl:2:6: calling `required`: set store.id (called from \
             shop/templates/_helpers.tpl:4:25, shop/templates/a.yaml:2:7)"
        );
        assert_eq!(
            refusal(&[("templates/a.yaml", "\n{{ .Values.a.b.c }}")], &json!({"a": {}})),
            "render shop/templates/a.yaml:2:4: nil pointer evaluating interface {}.c: `.Values.a.b` is not set, so nothing \
             below it (`.c`) can be read; set `a.b` in the values"
        );
        assert_eq!(
            refusal(
                &[("templates/a.yaml", "{{ tpl .Values.text . }}")],
                &json!({"text": "x\n{{ fail \"no\" }}"})
            ),
            "render shop/templates/a.yaml (tpl):2:4: calling `fail`: no (called from shop/templates/a.yaml:1:4)"
        );
    }

    #[test]
    fn an_error_shows_the_templates_line_and_marks_the_place() {
        let line = format!("\t a: {{{{ .Values.none.x.y }}}}{}", " b".repeat(100));
        let error =
            render(&[("templates/a.yaml", &format!("# a\n{line}\nc: 1"))], &json!({"none": {}})).unwrap_err();
        let snippet = error.snippet().expect("a template failed");
        assert!(snippet.text().starts_with("a: {{ .Values.none.x.y }} b b"), "{snippet:?}");
        assert_eq!((snippet.text().len(), snippet.mark().as_str()), (99, "      ^"));
        assert!(!error.to_string().contains('\n'));
        let unparsed = load(&[CHART_YAML, ("templates/a.yaml", "a\n {{ nope }}")]).unwrap_err();
        assert_eq!(
            unparsed.snippet().map(|snippet| snippet.text().to_owned()).as_deref(),
            Some("{{ nope }}")
        );
    }

    #[test]
    fn a_value_that_a_subchart_misses_is_named_as_the_store_sets_it() {
        let files = [
            ("charts/redis/Chart.yaml", "apiVersion: v2\nname: redis\nversion: 1.0.0\n"),
            ("charts/redis/templates/a.yaml", "{{ with 1 }}{{ $.Values.auth.user.name }}{{ end }}"),
        ];
        let error = refusal(&files, &json!({"redis": {"auth": {}}}));
        assert!(error.contains("`$.Values.auth.user` is not set"), "{error}");
        assert!(error.ends_with("set `redis.auth.user` in the values"), "{error}");
        let error = refusal(&[("templates/a.yaml", "{{ $x := .Values }}{{ $x.a.b }}")], &json!({}));
        assert!(error.ends_with("nil pointer evaluating interface {}.b: `$x.a` is not set"), "{error}");
    }

    #[test]
    fn output_that_is_not_utf_8_is_an_error_that_names_the_line() {
        assert_eq!(
            refusal(&[("templates/a.yaml", "a: 1\nb: {{ trunc 1 \"ä\" }}")], &json!({})),
            "read the output of shop/templates/a.yaml: line 2 is not UTF-8"
        );
    }

    #[test]
    fn output_that_is_no_object_is_an_error_that_names_the_template() {
        let error = refusal(&[("templates/a.yaml", "a: 1\n---\nb: [1\nc: 2\n")], &json!({}));
        assert!(
            error.starts_with("read the output of shop/templates/a.yaml: parse YAML at line 2"),
            "{error}"
        );
        assert_eq!(
            refusal(&[("templates/a.yaml", "- a")], &json!({})),
            "read the output of shop/templates/a.yaml: a document is not a map"
        );
    }

    #[test]
    fn values_that_break_the_schema_are_all_named() {
        let schema = json!({"properties": {"a": {"type": "string"}, "b": {"minimum": 2}}, "required": ["c"]})
            .to_string();
        let files = [("values.schema.json", schema.as_str()), ("values.yaml", "a: 1\n")];
        let error = refusal(&files, &json!({"b": 1}));
        assert!(error.starts_with("validate the values: "), "{error}");
        for part in ["`a`: ", "`b`: ", "`(root)`: \"c\" is a required property"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(render(&files, &json!({"a": null, "b": 2, "c": 0})).is_ok());
    }

    #[test]
    fn documents_are_split_hooks_flagged_and_notes_kept_apart() {
        let files = [
            (
                "templates/b.yaml",
                "---# cut\nkind: One\n---\n# only a comment\n---\n\n---\nkind: Two\nmetadata:\n  annotations: {helm.sh/hook: pre-install}\n\
                 ---\nkind: Never\nmetadata:\n  annotations: {helm.sh/hook: some-day}\n",
            ),
            ("templates/a.yaml", "kind: Zero\ndata:\n  text: |\n    a---b\n    c\n"),
            ("templates/_part.tpl", "kind: Never"),
            (
                "templates/NOTES.txt",
                "Hello {{ .Release.Name }} {{ .Release.IsUpgrade }} {{ .Release.Revision }}",
            ),
        ];
        let rendering = render(&files, &json!({})).unwrap();
        let hook = |object: &RenderedObject| object.hook.as_ref().map(|hook| hook.events.clone());
        let seen: Vec<(&str, &Value, Option<Vec<HookEvent>>)> = rendering
            .objects
            .iter()
            .map(|object| (object.template.as_str(), &object.value["kind"], hook(object)))
            .collect();
        assert_eq!(
            seen,
            [
                ("shop/templates/a.yaml", &json!("Zero"), None),
                ("shop/templates/b.yaml", &json!("One"), None),
                ("shop/templates/b.yaml", &json!("Two"), Some(vec![HookEvent::PreInstall])),
            ]
        );
        assert_eq!(rendering.objects[0].value["data"]["text"], "a---b\nc\n");
        assert_eq!(rendering.notes.as_deref(), Some("Hello rel true 3"));
    }

    #[test]
    fn look_ups_and_capabilities_come_from_the_caller() {
        let text = "a: {{ (lookup \"v1\" \"Secret\" \"space\" \"it\").data.found }}\n\
            b: {{ typeOf (lookup \"v1\" \"Secret\" \"space\" \"it\").data.count }}\n\
            c: {{ .Capabilities.KubeVersion }}\nd: {{ .Capabilities.KubeVersion.Version }}\n\
            e: {{ .Capabilities.APIVersions.Has \"v1\" }}\n";
        let rendering = render(&[("templates/a.yaml", text)], &json!({})).unwrap();
        assert_eq!(
            rendering.objects[0].value,
            json!({"a": "it", "b": "int64", "c": "v1.33.4", "d": "v1.33.4-gke.1", "e": true})
        );
    }

    #[test]
    fn a_chart_for_another_kubernetes_is_refused() {
        let needs = ("Chart.yaml", "name: a\nversion: 1.0.0\nkubeVersion: \">=1.40-0\"\n");
        let chart = load(&[needs]).unwrap();
        let request = RenderRequest {
            release: Release {
                name: String::new(),
                namespace: String::new(),
                is_upgrade: false,
                revision: 1,
            },
            values: &serde_json::Map::new(),
            capabilities: &Capabilities::default(),
            lookup: &|_| json!({}),
            entropy: &|_| {},
            now: 0,
            limits: RenderLimits::default(),
        };
        assert_eq!(
            chart.render(&request).unwrap_err().to_string(),
            "render a: it needs Kubernetes >=1.40-0, and this is v1.37.0"
        );
    }

    #[test]
    fn a_chart_renders_the_same_every_time_and_from_every_thread() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<Chart>();
        let files = [
            ("values.yaml", "m: {a: 1}\n"),
            ("templates/a.yaml", "{{ $_ := set .Values.m \"b\" (len .Values.m) }}b: {{ .Values.m.b }}"),
        ];
        let first = render(&files, &json!({})).unwrap();
        assert_eq!(first.objects[0].value, json!({"b": 1}));
        assert_eq!(render(&files, &json!({})).unwrap(), first);
    }
}
