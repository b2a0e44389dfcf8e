import { loadModel, MODELS } from '../../model/catalog.ts'
import type { ModelSpec } from '../../model/spec.ts'
import {
  attentionUnitParameters,
  attentionUnits,
  embeddingParameters,
  ffnParameters,
  lmHeadParameters,
  kvBytesPerUnitToken,
} from '../../model/spec.ts'
import { formatBytes, formatNumber } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printHint, printJson, printLine } from '../io.ts'

const FP16_BYTES = 2

interface Options {
  readonly json?: boolean
}

/** One row of `edgewise models --json`: the shape and derived figures. */
interface ModelSummary extends ModelSpec {
  readonly parameters: number
  readonly fp16WeightBytes: number
  readonly fp16KvBytesPerToken: number
}

export const models: CliCommand<Options> = {
  name: 'models',
  summary: 'list the models that are known, or describe one',
  configure(command) {
    command.argument('[model...]', 'ids or YAML files (default: every built-in model)')
    addJson(command)
    addExamples(command, [
      ['List the built-in models', 'models'],
      ['Check a model of your own', 'models my-model.yaml --json'],
    ])
  },
  run(options, io, args) {
    const chosen = args.length === 0 ? MODELS : args.map(loadModel)
    const summaries = chosen.map(summarise)
    if (options.json === true) {
      printJson(io, { models: summaries })
      return
    }
    printLine(io, renderTable({ columns: COLUMNS, rows: summaries.map(row) }, io))
    printHint(
      io,
      '\nA model of your own is one YAML file with these fields: give its path wherever an id is asked for.',
    )
  },
}

const COLUMNS = [
  { title: 'model' },
  { title: 'family' },
  { title: 'layers', align: 'right' },
  { title: 'width', align: 'right' },
  { title: 'heads (K/V)', align: 'right' },
  { title: 'FFN', align: 'right' },
  { title: 'context', align: 'right' },
  { title: 'parameters', align: 'right' },
  { title: 'fp16 weights', align: 'right' },
  { title: 'fp16 K/V per token', align: 'right' },
] as const

/** Matrices only: norms and biases are less than a thousandth of the total. */
function summarise(model: ModelSpec): ModelSummary {
  const layer = attentionUnits(model) * attentionUnitParameters(model) + ffnParameters(model, 'whole')
  const head = model.tiedHead ? 0 : lmHeadParameters(model)
  const parameters = embeddingParameters(model) + model.layers * layer + head
  const kv = model.layers * attentionUnits(model) * kvBytesPerUnitToken(model, FP16_BYTES)
  return { ...model, parameters, fp16WeightBytes: parameters * FP16_BYTES, fp16KvBytesPerToken: kv }
}

function row(model: ModelSummary): string[] {
  return [
    model.id,
    model.family,
    formatNumber(model.layers),
    formatNumber(model.width),
    `${model.heads} (${model.kvHeads})`,
    formatNumber(model.ffnWidth),
    formatNumber(model.contextTokens),
    `${formatNumber(model.parameters / 1e6)} M`,
    formatBytes(model.fp16WeightBytes),
    formatBytes(model.fp16KvBytesPerToken),
  ]
}
