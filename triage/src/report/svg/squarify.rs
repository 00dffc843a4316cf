//! Squarified treemaps (Bruls, Huizing, van Wijk 2000): areas in a rectangle, each as close to a square as it gets.

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A rectangle for each of `areas`, in their order, together filling `whole`. Best when the largest come first.
/// None when there is nothing to divide by.
pub fn squarify(areas: &[f64], whole: Rect) -> Vec<Rect> {
    let usable = |area: &f64| area.is_finite() && *area > 0.0;
    let total: f64 = areas.iter().filter(|area| usable(area)).sum();
    if total <= 0.0 || whole.width <= 0.0 || whole.height <= 0.0 {
        return Vec::new();
    }
    let scale = whole.width * whole.height / total;
    let areas: Vec<f64> = areas
        .iter()
        .map(|area| if usable(area) { area * scale } else { 0.0 })
        .collect();
    let mut out = Vec::with_capacity(areas.len());
    let mut free = whole;
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = free.width.min(free.height);
        let mut taken = 1;
        while taken < rest.len() && worst(&rest[..=taken], side) <= worst(&rest[..taken], side) {
            taken += 1;
        }
        free = row(&rest[..taken], free, &mut out);
        rest = &rest[taken..];
    }
    out
}

/// The worst aspect ratio of a row of areas along a side.
fn worst(areas: &[f64], side: f64) -> f64 {
    let sum: f64 = areas.iter().sum();
    if sum <= 0.0 || side <= 0.0 {
        return f64::INFINITY;
    }
    let largest = areas.iter().copied().fold(0.0, f64::max);
    let smallest = areas.iter().copied().fold(f64::INFINITY, f64::min);
    let side2 = side * side;
    let sum2 = sum * sum;
    (side2 * largest / sum2).max(sum2 / (side2 * smallest.max(f64::MIN_POSITIVE)))
}

/// Lays a row along the shorter side and returns what is left.
fn row(areas: &[f64], free: Rect, out: &mut Vec<Rect>) -> Rect {
    let sum: f64 = areas.iter().sum();
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width };
    let thickness = if side > 0.0 { sum / side } else { 0.0 };
    let mut along = 0.0;
    for area in areas {
        let length = if thickness > 0.0 {
            area / thickness
        } else {
            0.0
        };
        out.push(if upright {
            Rect {
                x: free.x,
                y: free.y + along,
                width: thickness,
                height: length,
            }
        } else {
            Rect {
                x: free.x + along,
                y: free.y,
                width: length,
                height: thickness,
            }
        });
        along += length;
    }
    if upright {
        Rect {
            x: free.x + thickness,
            width: (free.width - thickness).max(0.0),
            ..free
        }
    } else {
        Rect {
            y: free.y + thickness,
            height: (free.height - thickness).max(0.0),
            ..free
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Rect = Rect {
        x: 0.0,
        y: 0.0,
        width: 600.0,
        height: 400.0,
    };

    #[test]
    fn areas_are_kept_and_fill_the_whole() {
        let areas = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0];
        let rects = squarify(&areas, WHOLE);
        assert_eq!(rects.len(), areas.len());
        for (area, rect) in areas.iter().zip(&rects) {
            let expected = area / 24.0 * 240_000.0;
            assert!(
                (rect.width * rect.height - expected).abs() < 1e-6,
                "{area} -> {rect:?}"
            );
            assert!(rect.x >= -1e-9 && rect.x + rect.width <= 600.0 + 1e-6);
            assert!(rect.y >= -1e-9 && rect.y + rect.height <= 400.0 + 1e-6);
        }
        // The example of the paper: no tile is worse than 3 to 1.
        assert!(
            rects
                .iter()
                .all(|r| (r.width / r.height).max(r.height / r.width) <= 3.0 + 1e-9),
            "{rects:?}"
        );
    }

    #[test]
    fn nothing_and_nonsense_make_no_tiles_that_anyone_sees() {
        assert!(squarify(&[], WHOLE).is_empty());
        assert!(squarify(&[0.0, f64::NAN], WHOLE).is_empty());
        let rects = squarify(&[5.0, 0.0, f64::NAN], WHOLE);
        assert_eq!(rects.len(), 3);
        assert!((rects[0].width * rects[0].height - 240_000.0).abs() < 1e-6);
        assert!(rects[1..].iter().all(|r| r.width * r.height == 0.0));
    }
}
