//! A forecast as a picture: an SVG file, and bars of plain characters for a terminal.
//!
//! What is expected and what is at risk differ by pattern and by label, never by colour alone, and every number of the picture stands
//! in its text too.

use std::fmt::Write as _;

use domain::money::Money;

use super::{Forecast, Line};

/// Bars drawn; more periods than these are a table, not a picture.
pub const MOST_BARS: usize = 400;
/// Characters of the longest bar in a terminal.
const BAR_CHARS: u64 = 40;

const LEFT: u32 = 110;
const BAR: u32 = 360;
const ROW: u32 = 24;
const TOP: u32 = 84;

/// How a row is called in the picture.
fn name(line: &Line) -> String {
    [Some(line.period.as_str()), line.plan.as_deref(), line.method, line.state]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A share of a length, rounded down.
pub(crate) fn share(of: u64, part: Money, whole: i64) -> u64 {
    let part = u128::from(part.minor().max(0).unsigned_abs());
    let whole = u128::from(whole.max(1).unsigned_abs());
    u64::try_from(part * u128::from(of) / whole).unwrap_or(of)
}

fn largest(forecast: &Forecast, currency: &str) -> i64 {
    let of = forecast.rows.iter().filter(|line| line.scheduled.currency().code() == currency);
    of.map(|line| line.scheduled.minor()).max().unwrap_or_default()
}

/// Bars for a terminal: `#` is expected, `.` is at risk.
#[must_use]
pub fn bars(forecast: &Forecast) -> String {
    let width = forecast.rows.iter().map(|line| name(line).chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for line in forecast.rows.iter().take(MOST_BARS) {
        let most = largest(forecast, line.scheduled.currency().code());
        let whole = share(BAR_CHARS, line.scheduled, most);
        let expected = share(BAR_CHARS, line.expected, most).min(whole);
        let bar: String = (0..BAR_CHARS)
            .map(|at| {
                if at < expected {
                    '#'
                } else if at < whole {
                    '.'
                } else {
                    ' '
                }
            })
            .collect();
        let _ = writeln!(text, "{:width$}  {bar}  {} expected, {} at risk", name(line), line.expected, line.at_risk);
    }
    if forecast.rows.len() > MOST_BARS {
        let _ = writeln!(text, "{} further rows are not drawn", forecast.rows.len() - MOST_BARS);
    }
    text.push_str("# expected   . at risk   together: scheduled\n");
    text
}

/// Text as XML has it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An SVG picture with a title and a description, its numbers as text beside the bars. It asks for nothing from outside.
#[must_use]
pub fn svg(forecast: &Forecast) -> String {
    let rows: Vec<&Line> = forecast.rows.iter().take(MOST_BARS).collect();
    let longest = rows.iter().map(|line| name(line).chars().count()).max().unwrap_or_default();
    let left = LEFT.max(u32::try_from(longest).unwrap_or(LEFT).saturating_mul(8).saturating_add(16));
    let count = u32::try_from(rows.len()).unwrap_or_default();
    let height = TOP + ROW * count + 40;
    let width = left + BAR + 520;
    let request = &forecast.request;
    let title = format!("Forecast {} to {}, scenario {}", request.from, request.until, request.scenario);
    let totals: Vec<String> = forecast
        .whole
        .iter()
        .map(|line| {
            format!(
                "{} charges: {} scheduled, {} expected, {} at risk",
                line.charges, line.scheduled, line.expected, line.at_risk
            )
        })
        .collect();
    let said: Vec<String> = rows
        .iter()
        .map(|line| {
            format!(
                "{}: {} scheduled, {} expected, {} at risk",
                name(line),
                line.scheduled,
                line.expected,
                line.at_risk
            )
        })
        .collect();
    let summary = format!("{}. As of {}.", totals.join("; "), request.as_of.format("%Y-%m-%dT%H:%M:%SZ"));
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title desc\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{} {}</desc>\n\
         <defs><pattern id=\"risk\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect width=\"6\" height=\"6\" fill=\"#ffffff\"/><rect width=\"2\" height=\"6\" fill=\"#8a3b00\"/></pattern></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"22\" font-size=\"16\" fill=\"#111111\">{}</text>\n\
         <text x=\"8\" y=\"44\" fill=\"#333333\">{}</text>\n\
         <rect x=\"8\" y=\"56\" width=\"16\" height=\"12\" fill=\"#1f4e8c\"/><text x=\"30\" y=\"67\" fill=\"#111111\">expected</text>\n\
         <rect x=\"110\" y=\"56\" width=\"16\" height=\"12\" fill=\"url(#risk)\" stroke=\"#8a3b00\"/><text x=\"132\" y=\"67\" fill=\"#111111\">at risk</text>\n",
        escaped(&title),
        escaped(&summary),
        escaped(&said.join("; ")),
        escaped(&title),
        escaped(&summary),
    );
    for (line, place) in rows.iter().zip(0_u32..) {
        let most = largest(forecast, line.scheduled.currency().code());
        let whole = share(u64::from(BAR), line.scheduled, most);
        let expected = share(u64::from(BAR), line.expected, most).min(whole);
        let (y, text_y) = (TOP + ROW * place, TOP + ROW * place + 13);
        let (risk_x, risk) = (u64::from(left) + expected, whole - expected);
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{text_y}\" fill=\"#111111\">{}</text>\
             <rect x=\"{left}\" y=\"{y}\" width=\"{expected}\" height=\"16\" fill=\"#1f4e8c\"/>\
             <rect x=\"{risk_x}\" y=\"{y}\" width=\"{risk}\" height=\"16\" fill=\"url(#risk)\" stroke=\"#8a3b00\"/>\
             <text x=\"{}\" y=\"{text_y}\" fill=\"#111111\">{} scheduled, {} expected, {} at risk</text>",
            escaped(&name(line)),
            left + BAR + 10,
            escaped(&line.scheduled.to_string()),
            escaped(&line.expected.to_string()),
            escaped(&line.at_risk.to_string()),
        );
    }
    out.push_str("</svg>\n");
    out
}
