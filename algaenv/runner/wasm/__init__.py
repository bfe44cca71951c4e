"""Running handlers: WebAssembly components of the world `alga:extension/runner`."""
