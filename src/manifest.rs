//! Kubernetes objects as storekeeper sees them: identity, kind order, the stamp of ownership. Pure.
