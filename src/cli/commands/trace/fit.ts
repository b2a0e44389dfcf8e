import { join } from 'node:path'
import { InputError } from '../../../core/errors.ts'
import { writeAtomic } from '../../../core/files.ts'
import { formatLinkModel } from '../../../trace/fit.ts'
import type { LinkModel } from '../../../trace/markov.ts'
import { fitRecipe, readRecipes } from '../../../trace/import/recipe.ts'
import type { LinkRecipe } from '../../../trace/import/recipe.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { startProgress } from '../../progress.ts'

interface Options {
  readonly recordings: string
  readonly out: string
  readonly json?: boolean
}

export const traceFit: CliCommand<Options> = {
  name: 'fit',
  summary: 'fit synthetic links to recordings',
  configure(command) {
    command.argument(
      '<recipes>',
      'YAML: for each link its words, its lanes, and which recordings go into which chain',
    )
    command.argument('[names...]', 'links of the recipes to fit (default: all)')
    command.requiredOption('--recordings <folder>', 'where the recordings lie; they are not shipped')
    command.requiredOption('--out <folder>', 'where to write <name>.yaml')
    addJson(command)
    addExamples(command, [
      [
        'Fit the shipped links again',
        'trace fit traces/recipes.yaml --recordings ../recordings --out traces/links',
      ],
      ['One of them', 'trace fit traces/recipes.yaml 3g-driving --recordings ../recordings --out .'],
    ])
  },
  run(options, io, [path, ...names]) {
    const models = fitAll(chooseRecipes(path, names), options.recordings, io)
    // Written only after every model was fitted, so that bad input leaves nothing half done.
    const files = models.map((model) => {
      const file = join(options.out, `${model.name}.yaml`)
      writeAtomic(file, formatLinkModel(model))
      return file
    })
    if (options.json === true) printJson(io, { files, models })
    else for (const [index, model] of models.entries()) printLine(io, describe(model, files[index]))
  },
}

function chooseRecipes(path: string, names: readonly string[]): LinkRecipe[] {
  const recipes = readRecipes(path)
  for (const name of names) {
    if (recipes.some((recipe) => recipe.name === name)) continue
    const expected = `one of ${recipes.map((recipe) => recipe.name).join(', ')}`
    throw new InputError({ where: path, expected, found: name })
  }
  return names.length === 0 ? recipes : recipes.filter((recipe) => names.includes(recipe.name))
}

function fitAll(recipes: readonly LinkRecipe[], recordings: string, io: Io): LinkModel[] {
  const progress = startProgress(io, 'fitting', recipes.length)
  try {
    return recipes.map((recipe, index) => {
      progress.update(index, recipe.name)
      return fitRecipe(recipe, recordings)
    })
  } finally {
    progress.stop()
  }
}

function describe(model: LinkModel, file: string): string {
  const states = model.chains.map((chain) => chain.states.length).join(' and ')
  return `${model.name} (${model.split}): ${states} states, written to ${file}`
}
