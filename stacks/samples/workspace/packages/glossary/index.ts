/** Words of the trade. No extension uses this package. */
export const WORDS = { quote: "what a piece of work will cost", total: "what all of it costs" };
