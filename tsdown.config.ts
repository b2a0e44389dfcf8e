import { existsSync, readdirSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { defineConfig } from 'tsdown'
import type { UserConfig } from 'tsdown'
import { threadPrograms } from './threads.config.ts'

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort() : []
}

/** What is public, as `edgewise/<name>` (package.json exports all of dist/api); `edgewise/edge` is built apart, below. */
const rooms = {
  'api/plan': 'src/plan/index.ts',
  'api/sim': 'src/sim/index.ts',
  'api/envs': 'envs/index.ts',
  'api/learn': 'src/learn/index.ts',
  'api/serve': 'src/serve/index.ts',
  'api/trace': 'src/trace/index.ts',
}

/** Benchmarks are built with the rest and run by `edgewise bench`. */
const benches = Object.fromEntries(
  filesIn('bench')
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [`bench/${basename(file, '.ts')}`, `bench/${file}`]),
)

const shared: UserConfig = {
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  fixedExtension: false,
  // scripts/build.mjs builds beside dist and swaps: nobody ever sees half a build.
  clean: false,
  dts: false,
  logLevel: 'warn',
  plugins: [threadPrograms()],
}

const library: UserConfig = {
  ...shared,
  entry: { cli: 'src/cli/main.ts', ...rooms, ...benches },
  deps: { skipNodeModulesBundle: true },
}

/** ONNX Runtime, native or WASM; the second is loaded only where the first does not. */
const RUNTIME = ['onnxruntime-node', 'onnxruntime-web']

/** What an edge device loads: Node and ONNX Runtime; everything else lies inside the one file. */
const device: UserConfig = {
  ...shared,
  deps: { neverBundle: RUNTIME, alwaysBundle: [/^(?!node:|onnxruntime-)/], onlyBundle: false },
  outputOptions: { codeSplitting: false },
  // Its CommonJS form has names that the bundler gives to modules, too: `const require_types = require_types()`.
  alias: { '@opentelemetry/api': resolve('node_modules/@opentelemetry/api/dist/index.mjs') },
  // A device reads no YAML: importing the parser has no effect of its own, so that it goes where nothing calls it.
  treeshake: { moduleSideEffects: (id) => !/node_modules[\\/]yaml[\\/]/.test(id) },
}

const edge: UserConfig = { ...device, entry: { edge: 'src/policy/controller/edge.ts' } }

/** The program of a packed machine: `edgewise pack` puts it beside ONNX Runtime. */
const edgeProgram: UserConfig = {
  ...device,
  name: 'edge-program',
  entry: { 'edge-program': 'src/cli/edgeMain.ts' },
}

/** Declarations of the public rooms, for users who write TypeScript. */
const declarations: UserConfig = {
  ...shared,
  entry: rooms,
  deps: { skipNodeModulesBundle: true },
  dts: { emitDtsOnly: true },
}

export default defineConfig([library, declarations, edge, edgeProgram])
