import { useState } from "react";

const COLUMNS = ["New", "In progress", "Done"];

/** Tickets by their state; one that is clicked goes on to the next. */
export function Board() {
  const [states, setStates] = useState<Record<string, number>>({ Printer: 0, Mail: 1, Backup: 2 });
  const advance = (ticket: string) =>
    setStates({ ...states, [ticket]: (states[ticket] + 1) % COLUMNS.length });
  return (
    <main>
      <h1>Tickets</h1>
      <div className="columns">
        {COLUMNS.map((column, index) => (
          <section key={column} aria-label={column}>
            <h2>{column}</h2>
            {Object.keys(states)
              .filter((ticket) => states[ticket] === index)
              .map((ticket) => (
                <button key={ticket} onClick={() => advance(ticket)}>
                  {ticket}
                </button>
              ))}
          </section>
        ))}
      </div>
    </main>
  );
}
