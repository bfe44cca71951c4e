// The colours that the product's host names to a page, for trying a page in both.
// The names are the product's; the values are ours.

const LIGHT = {
  bg: "#ffffff", fg: "#1b1b25", muted: "#f3f2f7", "muted-fg": "#5c5a6b",
  primary: "#6d3fc4", "primary-foreground": "#ffffff", "primary-light": "#9b7ae0",
  "primary-dark": "#4c2a92", "primary-50": "#f6f2fd", "primary-100": "#e9dffa",
  "primary-soft": "#f1eafc", "primary-soft-fg": "#4c2a92", "primary-soft-hover": "#e4d8f8",
  "primary-border": "#c9b3ef", secondary: "#0f766e", "secondary-foreground": "#ffffff",
  "secondary-light": "#5bb5ac", accent: "#b45309", "accent-foreground": "#ffffff",
  danger: "#b91c1c", "danger-dark": "#7f1d1d", warning: "#92400e", success: "#166534",
  border: "#d9d6e3", "border-light": "#ebe9f1", "card-bg": "#faf9fc", "row-even": "#ffffff",
  "row-odd": "#f7f6fa", "row-hover": "#efecf6", radius: "8px", ring: "262 52% 51%",
};

const DARK = {
  ...LIGHT,
  bg: "#15131c", fg: "#eeebf5", muted: "#242130", "muted-fg": "#b5b0c4",
  primary: "#b08df5", "primary-foreground": "#15131c", "primary-light": "#cdb6fa",
  "primary-dark": "#8a63d8", "primary-50": "#1e1a2a", "primary-100": "#2a2340",
  "primary-soft": "#2a2340", "primary-soft-fg": "#d9c8fb", "primary-soft-hover": "#352c50",
  "primary-border": "#5a4791", secondary: "#5fd0c1", "secondary-foreground": "#0a1f1c",
  "secondary-light": "#2b6d65", accent: "#f0b866", "accent-foreground": "#15131c",
  danger: "#ff9a9a", "danger-dark": "#ffc2c2", warning: "#f0b866", success: "#7ad69a",
  border: "#3a3548", "border-light": "#2c2838", "card-bg": "#1f1c29", "row-even": "#15131c",
  "row-odd": "#1b1824", "row-hover": "#272334", ring: "260 84% 76%",
};

/**
 * The payload of a `theme` message.
 * @param {"light" | "dark"} name
 * @returns {Record<string, string>}
 */
export function tokens(name) {
  const values = Object.entries(name === "dark" ? DARK : LIGHT);
  return Object.fromEntries(values.map(([token, value]) => [`--alga-${token}`, value]));
}
