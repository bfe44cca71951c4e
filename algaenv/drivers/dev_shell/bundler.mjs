// Bundles handlers on request: a line of JSON with an entry comes in, a line with the text or the
// errors goes out. esbuild keeps what it parsed of an entry, so that a second time takes milliseconds.
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const esbuild = createRequire(import.meta.url)(process.argv[2]);
const contexts = new Map();

const contextOf = async ({ root, entry, packages }) => {
  const key = JSON.stringify([entry, packages]);
  if (!contexts.has(key)) {
    contexts.set(
      key,
      await esbuild.context({
        absWorkingDir: root,
        bundle: true,
        entryPoints: [entry],
        external: ["alga:*"],
        format: "cjs",
        logLevel: "silent",
        mainFields: ["module", "main"],
        metafile: true,
        nodePaths: packages,
        outfile: path.join(root, "dist/main.js"),
        platform: "neutral",
        sourcemap: "external",
        sourcesContent: true,
        write: false,
      }),
    );
  }
  return contexts.get(key);
};

const place = (root, location) => location && {
  file: path.resolve(root, location.file),
  line: location.line,
  column: location.column + 1,
  lineText: location.lineText,
};

const bundled = async (request) => {
  const { root } = request;
  try {
    const { metafile, outputFiles } = await (await contextOf(request)).rebuild();
    const find = (ending) => outputFiles.find((file) => file.path.endsWith(ending)).text;
    const inputs = Object.keys(metafile.inputs).map((input) => path.resolve(root, input));
    return { text: find("main.js"), sourceMap: find("main.js.map"), inputs };
  } catch (error) {
    const errors = error.errors ?? [{ text: String(error?.message ?? error) }];
    return {
      errors: errors.map(({ text, location, notes = [] }) => ({
        text,
        place: place(root, location),
        notes: notes.map((note) => note.text),
      })),
    };
  }
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await bundled(JSON.parse(line)))}\n`);
}
process.exit(0);
