import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { accuracyTable, readAccuracyTable, type AccuracyTable } from '../../plan/profile/accuracy.ts'
import { accuracyFileIn } from '../../plan/profile/shipped.ts'

/** The table of `--accuracy`, else the one beside the model, else one with nothing measured. Throws InputError. */
export function accuracyOf(
  { accuracy }: { readonly accuracy?: string },
  { source: { model }, path }: Pick<PretrainedModel, 'source' | 'path'>,
): AccuracyTable {
  const file = accuracy ?? accuracyFileIn(path, model.id)
  return file === null ? accuracyTable(model) : readAccuracyTable(file, model)
}
