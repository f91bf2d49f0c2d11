// node validate.mjs FILE.glb -> the Khronos validator's report as JSON on stdout
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const validator = createRequire(import.meta.url)("gltf-validator");
const report = await validator.validateBytes(new Uint8Array(await readFile(process.argv[2])), { maxIssues: 200 });
process.stdout.write(JSON.stringify(report));
