//! The two formats that Prometheus reads, and the choice between them. No library writes both. They differ in the names
//! of counters in their descriptions, in how bounds are written, and in the end of the page.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>, RFC 9110, section 12.5.1.

use std::fmt::{self, Write};

use super::page::{Family, Kind, Labels, Page, Value};

/// A format of the page of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4, which every scraper reads.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that the values of an `Accept` header ask for: text, unless they name `OpenMetrics` and prefer it.
    pub fn wanted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        // Each a specificity and a quality in thousandths. The most specific range that matches a type decides about it
        // (RFC 9110, section 12.5.1).
        let (mut text, mut open) = ((0, 0), (0, 0));
        let mut is_empty = true;
        for range in accept.into_iter().flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
            if essence.is_empty() {
                continue;
            }
            is_empty = false;
            let (mut quality, mut version) = (1000, None);
            for part in parts {
                match part
                    .split_once('=')
                    .map(|(name, value)| (name.trim(), value.trim()))
                {
                    Some((name, value)) if name.eq_ignore_ascii_case("q") => quality = thousandths(value),
                    Some((name, value)) if name.eq_ignore_ascii_case("version") => {
                        version = Some(value.trim_matches('"'));
                    }
                    _ => {}
                }
            }
            let fits = |of: &mut (u8, u16), specificity| {
                if specificity >= of.0 {
                    // Of two equally specific ranges, the better quality counts.
                    let before = if specificity == of.0 { of.1 } else { 0 };
                    *of = (specificity, quality.max(before));
                }
            };
            match (essence.as_str(), version) {
                // Prometheus asks for 0.0.1 as well as 1.0.0, and reads an answer in 1.0.0 for both.
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => fits(&mut open, 3),
                ("text/plain", None | Some("0.0.4")) => fits(&mut text, 3),
                ("application/*", _) => fits(&mut open, 2),
                ("text/*", _) => fits(&mut text, 2),
                ("*/*", _) => {
                    fits(&mut text, 1);
                    fits(&mut open, 1);
                }
                _ => {}
            }
        }
        // A wildcard is no wish for OpenMetrics: a client that does not name it may not be able to read it.
        if !is_empty && open.0 == 3 && open.1 > text.1 {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type of the format, for `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes the page in this format.
    pub fn write(self, page: &Page) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = self.try_write(page, &mut text);
        text
    }

    fn try_write(self, page: &Page, to: &mut String) -> fmt::Result {
        for family in &page.families {
            self.family(family, to)?;
        }
        match self {
            Self::Text => Ok(()),
            Self::OpenMetrics => writeln!(to, "# EOF"),
        }
    }

    /// Writes one family. `OpenMetrics` describes a counter without the ending `_total` that its samples have.
    fn family(self, family: &Family, to: &mut String) -> fmt::Result {
        let name = match (self, family.kind) {
            (Self::OpenMetrics, Kind::Counter) => family.name.trim_end_matches("_total"),
            _ => family.name,
        };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(to, "# HELP {name} {}", family.help)?;
        writeln!(to, "# TYPE {name} {kind}")?;
        for (labels, value) in &family.samples {
            let name = family.name;
            match value {
                Value::Whole(value) => sample(to, name, "", labels, None, format_args!("{value}"))?,
                Value::Decimal(value) => sample(to, name, "", labels, None, format_args!("{value}"))?,
                Value::Seen(seen) => {
                    for (bound, count) in &seen.cumulative {
                        let bound = self.bound(*bound);
                        sample(to, name, "_bucket", labels, Some(&bound), format_args!("{count}"))?;
                    }
                    let count = seen.count;
                    sample(to, name, "_bucket", labels, Some("+Inf"), format_args!("{count}"))?;
                    sample(to, name, "_sum", labels, None, format_args!("{}", seen.sum))?;
                    sample(to, name, "_count", labels, None, format_args!("{count}"))?;
                }
            }
        }
        Ok(())
    }

    /// A bucket's upper bound. `OpenMetrics` requires a decimal point even in whole numbers.
    fn bound(self, bound: f64) -> String {
        match self {
            Self::Text => bound.to_string(),
            Self::OpenMetrics => format!("{bound:?}"),
        }
    }
}

/// A quality such as `0.75` in thousandths; one that cannot be parsed counts as 0.
fn thousandths(quality: &str) -> u16 {
    let quality: f32 = quality.parse().unwrap_or(0.0);
    let clamped = if quality.is_nan() {
        0.0
    } else {
        quality.clamp(0.0, 1.0)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1000"
    )]
    let thousandths = (clamped * 1000.0).round() as u16;
    thousandths
}

/// Writes one sample, with its label values escaped.
fn sample(
    to: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<&str>,
    value: fmt::Arguments<'_>,
) -> fmt::Result {
    write!(to, "{name}{suffix}")?;
    let mut separator = '{';
    let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        write!(to, "{separator}{name}=\"")?;
        for character in value.chars() {
            match character {
                '\\' => to.push_str("\\\\"),
                '"' => to.push_str("\\\""),
                '\n' => to.push_str("\\n"),
                other => to.push(other),
            }
        }
        to.push('"');
        separator = ',';
    }
    if separator == ',' {
        to.push('}');
    }
    writeln!(to, " {value}")
}

#[cfg(test)]
mod tests {
    use super::{super::series::Histogram, *};

    #[test]
    fn text_is_told_unless_openmetrics_is_preferred() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("text/html, */*;q=0.1", Format::Text),
            ("application/*", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", Format::OpenMetrics),
            (prometheus, Format::OpenMetrics),
            (
                "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.7",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0.7, text/plain;q=0.3",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            ("application/openmetrics-text;q=0.5, */*;q=0.9", Format::Text),
            ("application/openmetrics-text, text/plain", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
        ] {
            assert_eq!(Format::wanted([accept]), wanted, "{accept}");
        }
        assert_eq!(
            Format::wanted(["text/plain;q=0.1", "application/openmetrics-text"]),
            Format::OpenMetrics
        );
    }

    #[test]
    fn a_page_is_written_as_each_format_has_it() {
        let mut page = Page::default();
        page.counter("a_total", "Some.")
            .whole(&[("x", "a\"\\\nb"), ("y", "")], 3);
        page.gauge("b", "Other.").decimal(&[], 0.5);
        let histogram = Histogram::new(&super::super::series::SIZE);
        histogram.saw(2);
        page.histogram("c", "Sizes.").seen(&[("x", "1")], &histogram);
        let text = Format::Text.write(&page);
        let begin = "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"a\\\"\\\\\\nb\",y=\"\"} 3\n# HELP b Other.\n\
                     # TYPE b gauge\nb 0.5\n# HELP c Sizes.\n# TYPE c histogram\nc_bucket{x=\"1\",le=\"1\"} 0\n\
                     c_bucket{x=\"1\",le=\"2\"} 1\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(
            text.ends_with("c_bucket{x=\"1\",le=\"+Inf\"} 1\nc_sum{x=\"1\"} 2\nc_count{x=\"1\"} 1\n"),
            "{text}"
        );
        let open = Format::OpenMetrics.write(&page);
        assert!(
            open.starts_with("# HELP a Some.\n# TYPE a counter\na_total{"),
            "{open}"
        );
        assert!(
            open.contains("c_bucket{x=\"1\",le=\"1.0\"} 0\n") && open.ends_with("# EOF\n"),
            "{open}"
        );
    }
}
