import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { MODELS } from '../../model/catalog.ts'
import type { ModelSpec } from '../../model/spec.ts'

/** The accuracy table in a model's folder, `<id>.accuracy.json`; null if there is none. */
export function accuracyFileIn(folder: string, modelId: string): string | null {
  const path = join(folder, `${modelId}.accuracy.json`)
  return existsSync(path) ? path : null
}

/** The same for a catalogue model whose weights are shipped with the project, in `modelsFolder/<id>`. */
export function shippedAccuracyFile(model: ModelSpec, modelsFolder: string): string | null {
  return MODELS.includes(model) ? accuracyFileIn(join(modelsFolder, model.id), model.id) : null
}
