//! Kernels at a gateway: a real Jupyter Server, Jupyter Kernel Gateway and Jupyter Enterprise Gateway.

mod cells;
mod doctor;
mod enterprise;
mod lost;
mod server;
mod settings;
mod tls;
mod wire;
