//! Promise: nothing in templates or values makes a render panic, hang or take all memory, and the stack of an
//! ordinary thread is enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storekeeper::chart::{
    Capabilities, Chart, Release, RenderLimits, RenderRequest, Rendering, parse_values,
};

/// The stack of the threads that std and tokio start.
const STACK: usize = 2 << 20;

#[test]
fn endless_recursion_is_an_error_and_fits_the_stack() {
    let looping = "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}";
    assert_refused(looping, "the templates nest deeper than");
    let by_template = "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}";
    assert_refused(by_template, "the templates nest deeper than");
    assert_refused("{{ tpl .Values.own . }}", "the templates nest deeper than");
    let open = "{{ if true }}{{ with . }}{{ range list 1 }}".repeat(25);
    let close = "{{ end }}".repeat(75);
    let nested = format!(
        "{{{{ define \"a\" }}}}{open}{{{{ include \"a\" $ }}}}{close}{{{{ end }}}}{{{{ include \"a\" . }}}}"
    );
    assert_refused(&nested, "the templates nest deeper than");
    let parentheses = format!("{}(include \"a\" .){}", "(print ".repeat(90), ")".repeat(90));
    let wrapped =
        format!("{{{{ define \"a\" }}}}{{{{ {parentheses} }}}}{{{{ end }}}}{{{{ include \"a\" . }}}}");
    assert_refused(&wrapped, "the templates nest deeper than");
}

#[test]
fn deep_parsing_at_the_deepest_point_fits_the_stack() {
    // A text of the greatest nesting that the parser takes, parsed by `tpl` again and again on the way down.
    let deep =
        format!("{}{{{{ tpl .Values.deep . }}}}{}", "{{ if true }}".repeat(90), "{{ end }}".repeat(90));
    let values = json!({"deep": deep});
    let error = render_on_thread("{{ tpl .Values.deep . }}", values, RenderLimits::default()).unwrap_err();
    assert!(error.contains("the templates nest deeper than"), "{error}");
}

#[test]
fn deep_values_at_the_deepest_point_fit_the_stack() {
    let template = "{{ define \"a\" }}{{ $_ := toYaml .deep }}{{ $_ := print .deep }}{{ $_ := fromYaml .text }}\
        {{ $_ := merge (deepCopy .deep) .deep }}{{ $_ := deepEqual .deep (deepCopy .deep) }}\
        {{ $_ := regexMatch .pattern \"x\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" .Values }}";
    let text = "{a: ".repeat(95) + "1" + &"}".repeat(95);
    let pattern = "(".repeat(45) + "x" + &")".repeat(45);
    let values = json!({"deep": parse_values(&text).unwrap(), "text": text, "pattern": pattern});
    let error = render_on_thread(template, values, RenderLimits::default()).unwrap_err();
    assert!(error.contains("the templates nest deeper than"), "{error}");
}

#[test]
fn endless_loops_end_by_a_count_of_steps() {
    let started = Instant::now();
    assert_refused("{{ range 1000000000 }}{{ end }}", "the templates take more than 10000000 steps");
    assert_refused("{{ range 3000 }}{{ range 3000 }}{{ range 3000 }}x{{ end }}{{ end }}{{ end }}", "steps");
    assert_refused("{{ $d := dict }}{{ range 10000000 }}{{ $d = dict \"a\" $d }}{{ end }}", "more than");
    assert_refused("{{ $l := list }}{{ range 10000000 }}{{ $l = append $l . }}{{ end }}", "more than");
    assert_refused("{{ $s := \"x\" }}{{ range 100 }}{{ $s = print $s $s }}{{ end }}", "produce more than");
    assert_refused(
        "{{ range 100000 }}{{ regexMatch (repeat 2000 \"(a|b)*\") (repeat 20000 \"ab\") }}{{ end }}",
        "",
    );
    assert!(started.elapsed() < Duration::from_mins(2), "{:?}", started.elapsed());
}

#[test]
fn output_is_bounded_in_total() {
    let limits = RenderLimits { output_bytes: 1_000, ..RenderLimits::default() };
    let error = render_on_thread("{{ repeat 2000 \"x\" }}", json!({}), limits).unwrap_err();
    assert_eq!(error, "render demo/templates/a.yaml: the chart's output exceeds 1000 bytes");
}

#[test]
fn deep_values_and_alias_bombs_are_refused() {
    assert_refused(
        "{{ $d := dict }}{{ range 5000 }}{{ $d = dict \"a\" $d }}{{ end }}{{ toYaml $d }}",
        "nested deeper than 100",
    );
    assert_refused("{{ $d := dict }}{{ $_ := set $d \"d\" (list $d) }}{{ $d }}", "nested deeper than 100");
    assert_refused("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ deepCopy $d }}", "nested deeper than 100");
    let deep = "a: ".to_owned() + &"{a: ".repeat(200) + &"}".repeat(200);
    assert!(parse_values(&deep).unwrap_err().to_string().contains("nested deeper than"));
    assert!(
        render_on_thread(&deep, json!({}), RenderLimits::default()).unwrap_err().contains("nested deeper")
    );
    assert!(parse_values(&"- ".repeat(100_000)).is_err());
    assert!(parse_values(&"{".repeat(100_000)).is_err());
}

#[test]
fn a_cycle_of_maps_does_not_stay_in_memory() {
    // Each round would leave some 8 MiB behind.
    let template =
        "{{ $_ := set .Values \"self\" (dict \"all\" .Values \"ballast\" (repeat 8000000 \"x\")) }}a: 1";
    for _ in 0..40 {
        render_on_thread(template, json!({}), RenderLimits::default()).unwrap();
    }
    let Some(resident) = resident_bytes() else { return };
    assert!(resident < 250 << 20, "{resident} bytes are resident");
}

fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    status.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

fn assert_refused(template: &str, message: &str) {
    let values = json!({"own": "{{ tpl .Values.own . }}"});
    let error = render_on_thread(template, values, RenderLimits::default()).expect_err(template);
    assert!(error.contains(message), "{error}");
    assert!(error.len() < 2_000, "a message of {} bytes", error.len());
}

#[expect(clippy::unwrap_used, reason = "a thread that does not start or panics fails the test")]
fn render_on_thread(template: &str, values: Value, limits: RenderLimits) -> Result<Rendering, String> {
    let template = template.to_owned();
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread.spawn(move || render(&template, values, limits)).unwrap().join().unwrap()
}

fn render(template: &str, values: Value, limits: RenderLimits) -> Result<Rendering, String> {
    let files = BTreeMap::from([
        ("Chart.yaml".to_owned(), b"name: demo\nversion: 0.1.0\n".to_vec()),
        ("templates/a.yaml".to_owned(), template.as_bytes().to_vec()),
    ]);
    let chart = Chart::load(files).map_err(|error| error.to_string())?;
    let Value::Object(values): Value = values else { return Err("the values are no map".to_owned()) };
    let release =
        Release { name: "rel".to_owned(), namespace: "space".to_owned(), is_upgrade: false, revision: 1 };
    let rendering = chart.render(&RenderRequest {
        release,
        values: &values,
        capabilities: &Capabilities::default(),
        lookup: &|_| json!({}),
        entropy: &|bytes| bytes.fill(7),
        now: 0,
        limits,
    });
    rendering.map_err(|error| error.to_string())
}
