import { announce } from "./bridge.js";

// Tells Alga that the page is there and how high it is; the theme of Alga comes back.
announce();
