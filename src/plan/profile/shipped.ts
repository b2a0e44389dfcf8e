import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { MODELS } from '../../model/catalog.ts'
import type { ModelSpec } from '../../model/spec.ts'

/** The accuracy table of a model that lies beside it: `<id>.accuracy.json` in its folder; null where there is none. */
export function accuracyFileIn(folder: string, modelId: string): string | null {
  const path = join(folder, `${modelId}.accuracy.json`)
  return existsSync(path) ? path : null
}

/** The same for a model of the catalogue whose weights ship with the project, in `modelsFolder/<id>`. */
export function shippedAccuracyFile(model: ModelSpec, modelsFolder: string): string | null {
  return MODELS.includes(model) ? accuracyFileIn(join(modelsFolder, model.id), model.id) : null
}
