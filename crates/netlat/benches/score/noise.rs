//! The random numbers of `measure`'s simulations, and what queues need beside. Independent of the product's generator.

#[path = "../../../measure/tests/evidence/noise.rs"]
mod base;

pub use base::Noise;

impl Noise {
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }
}
