import { InputError } from '../errors.ts'
import type { OrtModule } from './convert.ts'
import { nativeSource, wasmSource } from './external.ts'
import { InProcessEngine } from './inProcess.ts'
import type { Engine, EngineKind } from './types.ts'
import { WorkerEngine } from './threaded.ts'

/**
 * Opens an engine. `native` runs onnxruntime-node in this thread, `worker` in a thread of its own, `wasm`
 * onnxruntime-web in this thread; `auto` is native, or WASM where the native binary does not load.
 * The packages are loaded on the first call (300 ms for the native one).
 */
export async function openEngine(kind: EngineKind | 'auto' = 'auto'): Promise<Engine> {
  if (kind === 'wasm') return openWasm()
  if (kind === 'worker') return WorkerEngine.start()
  if (kind === 'native') return openNative()
  try {
    return await openNative()
  } catch (error) {
    // Where there is no onnxruntime-web either (a packed device), what the native one lacks is what matters.
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
