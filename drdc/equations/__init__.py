"""The paper's equations in torch: no path, no configuration, no device."""
