//! The storekeeper binary.

fn main() {}
