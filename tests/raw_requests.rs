//! Raw requests: what may pass, and in which form it leaves.
