//! A log-linear latency histogram: 64 buckets for each power of two, an error under 1.6 %.

const SUB: u64 = 64;

pub struct Hist {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Hist {
    pub fn new() -> Hist {
        Hist { buckets: vec![0; (64 * SUB) as usize], count: 0, max: 0 }
    }

    pub fn add(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// A quantile, in microseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_bound(index as u64) as f64 / 1000.0;
            }
        }
        self.max()
    }

    /// The largest, in microseconds.
    pub fn max(&self) -> f64 {
        self.max as f64 / 1000.0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < SUB {
        return ns as usize;
    }
    let exponent = 63 - u64::from(ns.leading_zeros());
    ((exponent - 5) * SUB + (ns >> (exponent - 6)) - SUB) as usize
}

fn lower_bound(bucket: u64) -> u64 {
    if bucket < SUB {
        return bucket;
    }
    ((bucket % SUB) + SUB) << (bucket / SUB - 1)
}
