import type { ModelSpec } from '../../model/spec.ts'
import { accuracyTable, readAccuracyTable, type AccuracyTable } from './accuracy.ts'
import { accuracyFileIn } from './shipped.ts'

/**
 * The accuracy table of a model: `file` where one was named, else the one beside its weights in `folder`, else a table
 * with nothing measured. Throws InputError.
 */
export function accuracyTableOf(model: ModelSpec, folder: string, file?: string): AccuracyTable {
  const found = file ?? accuracyFileIn(folder, model.id)
  return found === null ? accuracyTable(model) : readAccuracyTable(found, model)
}
