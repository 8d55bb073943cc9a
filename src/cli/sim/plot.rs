//! The coverage over time, as SVG.

use plotters::prelude::*;
use rumormill::proto::sim::{Plan, Report};

const SIZE_PX: (u32, u32) = (960, 540);
/// Past so many times the median the axis of time is logarithmic, so that a late repair doesn't hide the flood.
const LOG_PAST_MEDIANS: u64 = 20;

/// A plot of which share of the other nodes had a message how long after it was said: over all messages, and for the slowest.
pub(super) fn coverage(plan: &Plan, report: &Report) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, plan, report).map_err(|error| format!("can't plot: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, plan: &Plan, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let last = report.delivery_ms.max.max(1);
    let log = last > LOG_PAST_MEDIANS * report.delivery_ms.p50.max(1);
    let place = |ms: u64| if log { (ms.max(1) as f64).log10() } else { ms as f64 };
    let label = |place: &f64| if log { format!("{:.0}", 10_f64.powf(*place)) } else { format!("{place:.0}") };
    let root = SVGBackend::with_string(svg, SIZE_PX).into_drawing_area();
    root.fill(&WHITE)?;
    let caption = format!(
        "{} nodes, degree {}, {} messages, {} to {} ms, seed {}",
        plan.nodes, plan.degree, report.messages, plan.latency_ms.0, plan.latency_ms.1, plan.seed
    );
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..place(last), 0.0..100.0_f64)?;
    chart
        .configure_mesh()
        .x_desc("milliseconds after it was said")
        .y_desc("nodes that have it, per cent")
        .max_light_lines(1)
        .x_label_formatter(&label)
        .y_label_formatter(&|share| format!("{share:.0}"))
        .draw()?;
    let curves = [("all messages", &report.coverage, BLUE), ("the slowest message", &report.coverage_of_slowest, RED)];
    for (name, curve, color) in curves {
        let line = LineSeries::new(steps(curve).map(|(at, share)| (place(at), share * 100.0)), color.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    let mut labels = chart.configure_series_labels();
    let labels = labels.position(SeriesLabelPosition::LowerRight).background_style(WHITE).border_style(BLACK);
    labels.draw()?;
    root.present()?;
    Ok(())
}

/// A curve's corners: between two points nobody got anything.
fn steps(curve: &[(u64, f64)]) -> impl Iterator<Item = (u64, f64)> + '_ {
    let first = curve.first().copied();
    first.into_iter().chain(curve.windows(2).flat_map(|pair| [(pair[1].0, pair[0].1), pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_points_the_curve_is_level() {
        let all: Vec<_> = steps(&[(0, 0.0), (5, 0.5), (7, 1.0)]).collect();
        assert_eq!(all, [(0, 0.0), (5, 0.0), (5, 0.5), (7, 0.5), (7, 1.0)]);
    }
}
