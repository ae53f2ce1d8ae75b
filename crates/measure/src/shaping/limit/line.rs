//! A straight line through points, twice: the second time without the worst of them.

#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// At x = 0.
    pub intercept: f64,
    pub slope: f64,
    /// Standard errors, from the points that were kept.
    pub intercept_error: f64,
    pub slope_error: f64,
}

impl Line {
    pub(super) fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// Share of points that the second fit leaves out.
const TRIMMED: f64 = 0.1;

/// Trimmed least squares. `None` below four points or where all have one x.
pub(super) fn fit(points: &[(f64, f64)]) -> Option<Line> {
    let first = least_squares(points)?;
    let mut kept = points.to_vec();
    kept.sort_by(|a, b| (a.1 - first.at(a.0)).abs().total_cmp(&(b.1 - first.at(b.0)).abs()));
    kept.truncate(kept.len() - (kept.len() as f64 * TRIMMED) as usize);
    least_squares(&kept)
}

fn least_squares(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len() as f64;
    if points.len() < 4 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (xx, xy) = points
        .iter()
        .fold((0.0, 0.0), |(xx, xy), point| (xx + (point.0 - x) * (point.0 - x), xy + (point.0 - x) * (point.1 - y)));
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    let intercept = y - slope * x;
    let residual = points.iter().map(|point| (point.1 - intercept - slope * point.0).powi(2)).sum::<f64>() / (n - 2.0);
    Some(Line {
        intercept,
        slope,
        intercept_error: (residual * (1.0 / n + x * x / xx)).sqrt(),
        slope_error: (residual / xx).sqrt(),
    })
}
