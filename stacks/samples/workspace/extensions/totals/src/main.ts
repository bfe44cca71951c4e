import { money } from "@acme/money";

const cents = [249900, 12000, 7550];
document.querySelector("p")!.textContent = money(cents.reduce((sum, it) => sum + it, 0));
