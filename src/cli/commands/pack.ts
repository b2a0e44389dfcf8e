import { InputError } from '../../core/errors.ts'
import { formatBytes, formatNumber } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { packJson, type PackJson } from '../json/pack.ts'
import { requireChoice } from '../options.ts'
import { readPack } from '../pack/manifest.ts'
import { TARGETS, thisMachine } from '../pack/target.ts'
import { writePack } from '../pack/write.ts'

interface Options {
  readonly model?: string
  readonly bundle?: string
  readonly target: string
  readonly onnxruntime?: string
  readonly out?: string
  readonly check?: string
  readonly json?: boolean
}

export const pack: CliCommand<Options> = {
  name: 'pack',
  summary: 'pack what one machine needs to run its side into one folder, or check such a folder',
  configure(command) {
    command
      .option('--model <id|path>', 'tales (built in), a Hugging Face directory, or a llama2.c .bin')
      .option('--bundle <folder>', 'policy bundle to include')
      .option('--target <platform-arch>', TARGETS.join(', '), thisMachine())
      .option('--out <folder>', 'new folder to pack into')
      .option(
        '--onnxruntime <folder>',
        'another unpacked onnxruntime-node, with onnxruntime-common beside it',
      )
      .option('--check <folder>', 'instead: whether every byte of a packed folder is the one that was packed')
    addJson(command)
    addExamples(command, [
      ['For this machine', 'pack --model tales --bundle exports/mine --out edge-here'],
      [
        'For an arm64 board, with an ONNX Runtime that was tried there',
        'pack --model tales --bundle exports/mine --target linux-arm64 ' +
          '--onnxruntime runtime/node_modules/onnxruntime-node --out edge-arm64',
      ],
      ['On the device: is it whole?', 'pack --check .'],
    ])
  },
  run(options, io) {
    const json = packJson(options.check === undefined ? write(options) : check(options, options.check))
    if (options.json === true) printJson(io, json)
    else describe(json, options.check !== undefined, io)
  },
}

function write({ model, bundle, target, onnxruntime, out }: Options) {
  if (model === undefined || out === undefined) {
    throw new InputError({
      where: model === undefined ? '--model' : '--out',
      expected: 'a value: packing needs --model and --out',
      found: 'nothing',
      remedy: 'see --help; to check a packed folder, say --check <folder>',
    })
  }
  const request = { model, bundle, onnxruntime, target: requireChoice('--target', target, TARGETS) }
  return writePack(request, out)
}

function check({ model, bundle, onnxruntime, out }: Options, folder: string) {
  const other = Object.entries({ model, bundle, onnxruntime, out }).find(([, value]) => value !== undefined)
  if (other === undefined) return readPack(folder)
  throw new InputError({
    where: '--check',
    expected: 'no option of packing beside it',
    found: `--${other[0]}`,
  })
}

function describe(json: PackJson, checked: boolean, io: Io): void {
  const { folder, model, bundle, onnxruntime, target } = json
  printLine(
    io,
    `${folder}: ${checked ? 'every byte is as packed, ' : ''}${formatNumber(json.files)} files, ${formatBytes(json.bytes)} ` +
      `(edgewise.mjs ${formatBytes(json.programBytes)}) for ${target}`,
  )
  printLine(
    io,
    `edgewise ${json.edgewise}, ONNX Runtime ${onnxruntime}, model ${model.id}, ` +
      (bundle === null ? 'no policy bundle' : `policy ${bundle}`),
  )
  printLine(io, `SHA-256 of its manifest: ${json.manifestSha256}`)
}
