//! Figures of dunning as a picture: what was recovered, what is failing and what is lost of each group, by pattern and by label, never by
//! colour alone.

use std::fmt::Write as _;

use domain::dunning_stats::{Figures, Stats};
use domain::money::{Currency, Money};

use crate::forecast::chart::{escaped, share};
use crate::ports::firing::DueBetween;

/// Groups drawn; more than these are a table, not a picture.
const MOST_BARS: usize = 200;
const LEFT: u32 = 190;
const BAR: u32 = 360;
const ROW: u32 = 24;
const TOP: u32 = 62;

/// A group in words: every number of its bar.
fn said((group, currency): (&str, Currency), figures: &Figures) -> String {
    let money = |minor: i64| Money::new(minor, currency);
    format!(
        "{group}: {} of {} tried failed, {}; {} recovered, {} failing, {} lost",
        figures.failed,
        figures.tried,
        money(figures.failed_volume),
        money(figures.recovered_volume),
        money(figures.failing_volume),
        money(figures.lost_volume)
    )
}

/// An SVG picture with a title and a description, its numbers as text beside the bars. It asks for nothing from outside.
pub(super) fn svg(due: DueBetween, stats: &Stats) -> String {
    let drawn: Vec<_> = stats.figures.iter().take(MOST_BARS).collect();
    let count = u32::try_from(drawn.len()).unwrap_or_default();
    let (width, height) = (LEFT + BAR + 640, TOP + ROW * count + 30);
    let title = format!("Failed payments due {} to {}", due.from, due.until);
    let lines: Vec<String> =
        drawn.iter().map(|((group, currency), figures)| said((group, *currency), figures)).collect();
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title desc\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title id=\"title\">{title}</title>\n<desc id=\"desc\">{}</desc>\n\
         <defs><pattern id=\"failing\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect width=\"6\" height=\"6\" fill=\"#ffffff\"/><rect width=\"2\" height=\"6\" fill=\"#8a3b00\"/></pattern></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"22\" font-size=\"16\" fill=\"#111111\">{title}</text>\n\
         <rect x=\"8\" y=\"36\" width=\"16\" height=\"12\" fill=\"#1f4e8c\"/><text x=\"30\" y=\"47\" fill=\"#111111\">recovered</text>\n\
         <rect x=\"120\" y=\"36\" width=\"16\" height=\"12\" fill=\"url(#failing)\" stroke=\"#8a3b00\"/><text x=\"142\" y=\"47\" fill=\"#111111\">failing</text>\n\
         <rect x=\"220\" y=\"36\" width=\"16\" height=\"12\" fill=\"#ffffff\" stroke=\"#111111\"/><text x=\"242\" y=\"47\" fill=\"#111111\">lost</text>\n",
        escaped(&lines.join(". ")),
    );
    for (((group, currency), figures), (place, line)) in drawn.iter().zip((0_u32..).zip(&lines)) {
        let most = stats.figures.iter().filter(|((_, its), _)| its == currency);
        let most = most.map(|(_, figures)| figures.failed_volume).max().unwrap_or_default();
        let length = |minor: i64| share(u64::from(BAR), Money::new(minor, *currency), most);
        let (recovered, failing) = (length(figures.recovered_volume), length(figures.failing_volume));
        let lost = length(figures.lost_volume);
        let (y, text_y) = (TOP + ROW * place, TOP + ROW * place + 13);
        let failing_x = u64::from(LEFT) + recovered;
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{text_y}\" fill=\"#111111\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{recovered}\" height=\"16\" fill=\"#1f4e8c\"/>\
             <rect x=\"{failing_x}\" y=\"{y}\" width=\"{failing}\" height=\"16\" fill=\"url(#failing)\" stroke=\"#8a3b00\"/>\
             <rect x=\"{}\" y=\"{y}\" width=\"{lost}\" height=\"16\" fill=\"#ffffff\" stroke=\"#111111\"/>\
             <text x=\"{}\" y=\"{text_y}\" fill=\"#111111\">{}</text>",
            escaped(group),
            failing_x + failing,
            LEFT + BAR + 10,
            escaped(line),
        );
    }
    out.push_str("</svg>\n");
    out
}
