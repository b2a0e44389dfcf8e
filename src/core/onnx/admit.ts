import { realpathSync, statSync } from 'node:fs'
import { isAbsolute, relative, sep } from 'node:path'
import { InputError, show } from '../errors.ts'
import { readCapped, resolveInside } from '../files.ts'
import type { Model } from './proto.ts'
import { decodeModel } from './read.ts'
import { scanModel } from './scan.ts'

/**
 * Checks ONNX files from outside before ONNX Runtime sees them: only known operators in known versions, and no access
 * to files except those beside the model.
 */

/** Operators by domain; '' is ai.onnx. */
type OperatorList = Readonly<Record<string, ReadonlySet<string>>>

/**
 * The operators of this project's own graphs. None of them runs another graph (If, Loop, Scan), reads a file or loads
 * code.
 */
const KNOWN_OPERATORS: OperatorList = {
  '': new Set([
    'Abs',
    'Add',
    'And',
    'ArgMax',
    'Cast',
    'Clip',
    'Concat',
    'Cos',
    'CumSum',
    'Div',
    'Equal',
    'Erf',
    'Exp',
    'Expand',
    'Gather',
    'GatherElements',
    'Gelu',
    'Gemm',
    'Greater',
    'GreaterOrEqual',
    'Identity',
    'LayerNormalization',
    'Less',
    'LessOrEqual',
    'Log',
    'LogSoftmax',
    'MatMul',
    'Max',
    'Min',
    'Mul',
    'Neg',
    'Not',
    'Or',
    'Pad',
    'Pow',
    'Reciprocal',
    'ReduceMax',
    'ReduceMean',
    'ReduceMin',
    'ReduceSum',
    'ReduceSumSquare',
    'Relu',
    'Reshape',
    'ScatterElements',
    'Shape',
    'Sigmoid',
    'Sign',
    'Sin',
    'Slice',
    'Softmax',
    'Softplus',
    'Split',
    'Sqrt',
    'Squeeze',
    'Sub',
    'Sum',
    'Tanh',
    'Tile',
    'Transpose',
    'Unsqueeze',
    'Where',
    'SimplifiedLayerNormalization',
  ]),
  'com.microsoft': new Set(['DynamicQuantizeMatMul', 'MatMulNBits', 'RotaryEmbedding']),
}

/** What admitModel allows. */
interface AdmitOptions {
  /** Folder of the external data; null: no external data is allowed. */
  readonly folder: string | null
  readonly allow?: OperatorList
  /** Name of the model in errors, where it is passed as bytes. */
  readonly where?: string
  readonly maxBytes?: number
  readonly maxExternalBytes?: number
}

const MAX_MODEL_BYTES = 256 * 1024 * 1024
const MAX_EXTERNAL_BYTES = 64 * 1024 * 1024 * 1024
/** A transformer of a hundred layers has about fifty thousand nodes of about ten fields each. */
const SCAN_LIMITS = { fields: 500_000, looseBytes: 16 * 1024 * 1024, graphDepth: 4 }
/** Versions whose meaning is known here; ONNX Runtime accepts more. */
const IR_VERSIONS = { min: 7, max: 10 }
const OPSETS: Readonly<Record<string, { min: number; max: number }>> = {
  '': { min: 13, max: 21 },
  'com.microsoft': { min: 1, max: 1 },
}
/** Metadata entry from which ONNX Runtime takes session options. */
const REFUSED_METADATA = 'ort_config'
/** Bytes 4 to 7 of a file in ORT format, which ONNX Runtime would load without any check here. */
const ORT_FORMAT = Buffer.from('ORTM')

/**
 * Reads and decodes an ONNX model from outside, passed as a path or as bytes. Throws InputError if it is too large or
 * damaged, has an operator or domain that is not on the list, a version out of range, graphs nested too deep, functions
 * or other parts that no model needs here, or data anywhere but in files of `folder` (no absolute path, no `..`, no
 * link leading out of it). Memory use is proportional to the size of the file.
 */
export function admitModel(source: Uint8Array | string, options: AdmitOptions): Model {
  const where = typeof source === 'string' ? source : (options.where ?? 'model bytes')
  const maxBytes = options.maxBytes ?? MAX_MODEL_BYTES
  const bytes = typeof source === 'string' ? readCapped(source, maxBytes) : source
  if (bytes.byteLength > maxBytes) throw refused(where, `at most ${maxBytes} bytes`, `${bytes.byteLength}`)
  if (ORT_FORMAT.equals(bytes.subarray(4, 8))) throw refused(where, 'an ONNX model', 'a file in ORT format')
  const allow = options.allow ?? KNOWN_OPERATORS
  scanModel(bytes, where, SCAN_LIMITS, {
    opset: (domain, version) => checkOpset(domain, version, where),
    node: (domain, opType) => checkOperator(domain, opType, allow, where),
    metadata: (key) => {
      if (key === REFUSED_METADATA) throw refused(where, 'a model without options of the runtime', key)
    },
    external: (entries) => checkExternal(entries, options, where),
  })
  const model = decodeModel(bytes, where)
  const { min, max } = IR_VERSIONS
  if (model.irVersion < min || model.irVersion > max) {
    throw refused(where, `IR version ${min} to ${max}`, `${model.irVersion}`)
  }
  return model
}

function checkOpset(domain: string, version: number, where: string): void {
  const name = ownDomain(domain)
  const range = Object.hasOwn(OPSETS, name) ? OPSETS[name] : undefined
  if (range === undefined) throw refused(where, 'operator sets of ai.onnx and com.microsoft', show(domain))
  if (version >= range.min && version <= range.max) return
  const expected = `operator set ${range.min} to ${range.max} of ${name || 'ai.onnx'}`
  throw refused(where, expected, `${version}`)
}

function checkOperator(domain: string, opType: string, allow: OperatorList, where: string): void {
  const name = ownDomain(domain)
  if (Object.hasOwn(allow, name) && allow[name].has(opType)) return
  throw refused(
    where,
    'operators on the list of those that are known',
    show(`${name || 'ai.onnx'}::${opType}`),
  )
}

function ownDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain
}

function checkExternal(entries: ReadonlyMap<string, string>, options: AdmitOptions, where: string): void {
  const { folder, maxExternalBytes = MAX_EXTERNAL_BYTES } = options
  const location = entries.get('location') ?? ''
  if (folder === null) throw refused(where, 'all data inside the file', `data in ${show(location)}`)
  for (const key of entries.keys()) {
    if (!['location', 'offset', 'length', 'checksum'].includes(key)) {
      throw refused(where, 'external data of known entries', show(key))
    }
  }
  // Plain names and slashes only: no drive letter, no backslash, and no marker that is special to the runtime.
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(location)) {
    throw refused(where, 'external data in a file beside the model', show(location))
  }
  const path = resolveInside(folder, location)
  const size = sizeInside(folder, path, where)
  const [offset, length] = ['offset', 'length'].map((key) => wholeNumber(entries.get(key) ?? '0', key, where))
  if (size > maxExternalBytes) throw refused(path, `at most ${maxExternalBytes} bytes`, `${size}`)
  if (offset + length > size) throw refused(path, `${offset + length} bytes`, `${size}`)
}

/** Size in bytes of a file that lies in the folder after links are followed. */
function sizeInside(folder: string, path: string, where: string): number {
  let real: string
  try {
    real = relative(realpathSync(folder), realpathSync(path))
  } catch (error) {
    const expected = `the model's data in ${show(path, 200)}`
    throw new InputError({ where, expected, found: 'no such file' }, { cause: error })
  }
  if (real.split(sep)[0] === '..' || isAbsolute(real)) {
    throw refused(where, `data inside ${folder}`, `a link that leaves it: ${show(path, 200)}`)
  }
  const info = statSync(path)
  if (!info.isFile()) throw refused(where, 'data in a regular file', show(path, 200))
  return info.size
}

function wholeNumber(text: string, key: string, where: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw refused(where, `${key} of external data as an integer`, show(text))
}

function refused(where: string, expected: string, found: string): InputError {
  const remedy =
    'run only models from where you would take a program; edgewise makes its own with `edgewise export`'
  return new InputError({ where, expected, found, remedy })
}
