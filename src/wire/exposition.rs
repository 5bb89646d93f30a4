//! Numbers as Prometheus reads them: the text format 0.0.4.
//!
//! In: families of samples, each with its name, help and kind. Out: a page. It never fails; names are constants of ours, and what
//! stands in a label is escaped. Our own, because the whole format is a page: `metrics` with its exporter brings some thirty crates
//! and a registry that is asked at each count, and `prometheus-client` writes OpenMetrics alone.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, "Text-based format".

use std::fmt::{Display, Write};

use crate::model::meter::Histogram;

/// What the page is, for its Content-Type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What labels a sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// A number that only grows, without labels; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// Numbers that only grow, told apart by one label.
    pub fn counters(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (&'static str, u64)>) {
        self.head(name, "counter", help);
        values.for_each(|(word, value)| self.sample(name, &[(label, word)], value));
    }

    /// A number that goes up and down, without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Numbers that go up and down, each with its labels.
    pub fn gauges<'a, V: Display>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, V)>) {
        self.head(name, "gauge", help);
        samples.into_iter().for_each(|(labels, value)| self.sample(name, labels, value));
    }

    /// Lengths of time in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (bound, so_far) in histogram.cumulative() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], so_far);
            count = so_far;
        }
        self.sample(&format!("{name}_sum"), &[], histogram.sum_seconds());
        self.sample(&format!("{name}_count"), &[], count);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_page_is_as_the_format_says() {
        let mut page = Exposition::default();
        page.counters("a_total", "All that\nwas.", "kind", [("x", 1), ("y", 2)].into_iter());
        page.gauges("b", "One \\ two.", [(&[("host", "a\"b\\c\nd"), ("of", "z")] as Labels<'_>, 0.5)]);
        let histogram = Histogram::new(&[0.25]);
        histogram.observe(Duration::from_millis(500));
        page.histogram("c_seconds", "How long.", &histogram);
        let expected = "# HELP a_total All that\\nwas.\n# TYPE a_total counter\na_total{kind=\"x\"} 1\na_total{kind=\"y\"} 2\n\
            # HELP b One \\\\ two.\n# TYPE b gauge\nb{host=\"a\\\"b\\\\c\\nd\",of=\"z\"} 0.5\n\
            # HELP c_seconds How long.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.25\"} 0\nc_seconds_bucket{le=\"+Inf\"} 1\n\
            c_seconds_sum 0.5\nc_seconds_count 1\n";
        assert_eq!(page.into_text(), expected);
    }
}
