import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isCollection, parseDocument, stringify } from 'yaml'
import { InputError } from '../core/errors.ts'
import { readLinkModel } from './markov.ts'
import type { LinkModel } from './markov.ts'

/**
 * The shipped link models of a folder (`traces/links`), sorted by name.
 * @throws InputError if there is none
 */
export function listLinkModels(folder: string, split?: LinkModel['split']): LinkModel[] {
  let names: string[]
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
  } catch (error) {
    const found = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new InputError({ where: folder, expected: 'a folder of link models', found }, { cause: error })
  }
  const models = names.sort().map((name) => readLinkModel(join(folder, name)))
  const chosen = models.filter((model) => split === undefined || model.split === split)
  if (chosen.length === 0) {
    throw new InputError({
      where: folder,
      expected: `link models${split ? ` for ${split}` : ''}`,
      found: 'none',
    })
  }
  return chosen
}

/** Formats a model as YAML, with one line for each state and each row of the transition matrix. */
export function formatLinkModel(model: LinkModel): string {
  const document = parseDocument(stringify(model))
  const flow = (path: (string | number)[]) => {
    const node = document.getIn(path)
    if (isCollection(node)) node.flow = true
  }
  model.chains.forEach(({ states, transition }, c) => {
    states.forEach((state, s) => {
      for (const lane of Object.keys(state)) flow(['chains', c, 'states', s, lane])
    })
    transition.forEach((_, row) => flow(['chains', c, 'transition', row]))
  })
  for (const lane of Object.keys(model.lanes)) flow(['lanes', lane])
  return document.toString({ lineWidth: 0, flowCollectionPadding: true })
}
