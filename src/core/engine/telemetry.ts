import { isMainThread } from 'node:worker_threads'
import { InputError } from '../errors.ts'

const VARIABLE = 'ORT_DISABLE_TELEMETRY'

/**
 * Turns off the telemetry of onnxruntime-node; call it before the package is loaded. Otherwise the addon keeps a device id
 * and a store of events in the user's cache folder, and sends them to its maker. It reads the process's real environment,
 * which only the main thread can write: `process.env` of a worker thread is a copy, made when the thread starts.
 */
export function turnOffTelemetry(): void {
  if (process.env[VARIABLE] === '1') return
  if (!isMainThread) {
    throw new InputError({
      where: 'engine in a worker thread',
      expected: `${VARIABLE}=1 in the environment of the process, so that ONNX Runtime sends nothing to its maker`,
      found: process.env[VARIABLE] ?? 'nothing',
      remedy: `start the process with it, or set process.env.${VARIABLE} = '1' in the main thread before this thread starts`,
    })
  }
  process.env[VARIABLE] = '1'
}
