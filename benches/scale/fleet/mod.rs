//! A fleet of sidecars in virtual time: the product's own turnstiles, before a shared server and a
//! provider that are arithmetic. A run is the same to the byte whenever it is repeated.

pub mod chance;
pub mod outcome;
pub mod scripts;
pub mod world;
