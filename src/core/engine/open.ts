import { InputError } from '../errors.ts'
import type { OrtModule } from './convert.ts'
import { nativeSource, wasmSource } from './external.ts'
import { InProcessEngine } from './inProcess.ts'
import { turnOffTelemetry } from './telemetry.ts'
import type { Engine, EngineKind } from './types.ts'
import { WorkerEngine } from './threaded.ts'

/**
 * Opens an engine. `native` runs onnxruntime-node in this thread, `worker` runs it in a worker thread, `wasm` runs
 * onnxruntime-web in this thread. `auto` is `native`, or `wasm` where the native binary does not load. Loads the npm
 * package on the first call (300 ms for the native one).
 */
export async function openEngine(kind: EngineKind | 'auto' = 'auto'): Promise<Engine> {
  if (kind === 'wasm') return openWasm()
  turnOffTelemetry()
  if (kind === 'worker') return WorkerEngine.start()
  if (kind === 'native') return openNative()
  try {
    return await openNative()
  } catch (error) {
    // Where onnxruntime-web is missing too (a packed device has neither), report the native package's error: that one
    // tells the user what to install.
    return openWasm().catch(() => {
      throw error
    })
  }
}

async function openNative(): Promise<Engine> {
  let ort: OrtModule
  try {
    ort = unwrap(await import('onnxruntime-node'))
  } catch (error) {
    throw new InputError(
      {
        where: 'engine native',
        expected: 'onnxruntime-node with a binary for this platform',
        found: (error as Error).message,
        remedy: "use the 'wasm' engine",
      },
      { cause: error },
    )
  }
  const info = {
    kind: 'native',
    name: 'onnxruntime-node',
    version: ort.env.versions.node ?? 'unknown',
  } as const
  return new InProcessEngine(ort, info, 'cpu', nativeSource)
}

async function openWasm(): Promise<Engine> {
  const ort: OrtModule = unwrap(await import('onnxruntime-web'))
  ort.env.wasm.numThreads = 1
  ort.env.wasm.proxy = false
  const info = { kind: 'wasm', name: 'onnxruntime-web', version: ort.env.versions.web ?? 'unknown' } as const
  return new InProcessEngine(ort, info, 'wasm', wasmSource)
}

/** A CommonJS module imported from ESM has its exports under `default`. */
function unwrap(module: unknown): OrtModule {
  const outer = module as { default?: unknown; InferenceSession?: unknown }
  return (outer.InferenceSession === undefined ? outer.default : outer) as OrtModule
}
