//! Accounts of users at a real Redis.

mod accounts;
mod kernels;
mod redis;
mod trust;
