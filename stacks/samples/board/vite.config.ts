import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  // Alga serves the page below a path that names its version.
  base: "./",
  build: { outDir: "ui" },
  plugins: [react()],
});
