"""Static files of extensions' pages: routes, tenants, files, caches."""
