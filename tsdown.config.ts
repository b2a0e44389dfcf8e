import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { defineConfig } from 'tsdown'
import type { UserConfig } from 'tsdown'

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort() : []
}

/** Rooms whose index.ts is public: `edgewise/<room>`. */
const PUBLIC_ROOMS = {
  base: 'src/base',
  onnx: 'src/onnx',
  engine: 'src/engine',
  model: 'src/model',
  profile: 'src/profile',
  trace: 'src/trace',
  plan: 'src/plan',
  observe: 'src/observe',
  sim: 'src/sim',
  envs: 'envs',
  policy: 'src/policy',
  learn: 'src/learn',
  runtime: 'src/runtime',
  evaluate: 'src/evaluate',
  report: 'src/report',
}

const rooms = Object.fromEntries(
  Object.entries(PUBLIC_ROOMS)
    .map(([room, folder]) => [room, `${folder}/index.ts`] as const)
    .filter(([, file]) => existsSync(file)),
)

/** Benchmarks are built with the rest and run by `edgewise bench`. */
const benches = Object.fromEntries(
  filesIn('bench')
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [`bench/${basename(file, '.ts')}`, `bench/${file}`]),
)

/**
 * Worker threads are started from a file, so each is an entry of its own beside the chunks:
 * `new URL('./worker.js', import.meta.url)` finds src/engine/worker.ts from any chunk.
 */
const workers = Object.fromEntries(
  filesIn('src')
    .filter((file) => /(^|[/.-])worker\.ts$/.test(file))
    .map((file) => [basename(file, '.ts'), join('src', file)]),
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
}

const library: UserConfig = {
  ...shared,
  entry: { cli: 'src/cli/main.ts', ...rooms, ...benches, ...workers },
  deps: { skipNodeModulesBundle: true },
}

/** What an edge device loads: Node and onnxruntime-node; everything else lies inside the one file. */
const edge: UserConfig = {
  ...shared,
  entry: { edge: 'src/runtime/edge.ts' },
  deps: {
    neverBundle: ['onnxruntime-node'],
    alwaysBundle: [/^(?!node:|onnxruntime-node)/],
    onlyBundle: false,
  },
  outputOptions: { codeSplitting: false },
}

export default defineConfig(existsSync('src/runtime/edge.ts') ? [library, edge] : [library])
