import { openEngine } from '../../core/engine/open.ts'
import type { Engine } from '../../core/engine/types.ts'
import { readBundle } from './files.ts'
import type { ReadOptions } from './files.ts'
import type { BundleSignature } from './signature.ts'
import { checkParity } from '../parity/parity.ts'
import type { ParityReport, ParitySizes } from '../parity/parity.ts'

/** Result of the parity check of a bundle, repeated from the bundle alone. */
export interface VerifyReport extends ParityReport {
  readonly folder: string
  readonly bundle: string
  /** Engines that did not open here, with the reason; they were not checked. */
  readonly absent: readonly string[]
  /** Signature of the manifest; null: not signed. */
  readonly signature: BundleSignature | null
}

/** Opens ONNX Runtime native and WASM; if one does not open, gives the reason. */
export async function openParityEngines(): Promise<{ engines: Engine[]; absent: string[] }> {
  const engines: Engine[] = []
  const absent: string[] = []
  for (const kind of ['native', 'wasm'] as const) {
    try {
      engines.push(await openEngine(kind))
    } catch (error) {
      absent.push(`${kind}: ${(error as Error).message}`)
    }
  }
  return { engines, absent }
}

/**
 * Reads a bundle and compares policy.onnx, on ONNX Runtime native and WASM, with the kernel on the parameters in the
 * file. Throws IntegrityError or InputError as readBundle does. `ok` is false if the outputs differ or if no engine
 * opens on this machine.
 */
export async function verifyBundle(
  folder: string,
  options: ReadOptions & { engines?: readonly Engine[]; sizes?: Partial<ParitySizes> } = {},
): Promise<VerifyReport> {
  const { manifest, model, numbers, problem, signature } = readBundle(folder, options)
  const opened = options.engines === undefined ? await openParityEngines() : { engines: [], absent: [] }
  try {
    const engines = options.engines ?? opened.engines
    const report = await checkParity(model, numbers, problem, manifest.problem, engines, options.sizes)
    return { ...report, folder, bundle: manifest.name, absent: opened.absent, signature }
  } finally {
    for (const engine of opened.engines) await engine.close()
  }
}
