import { parentPort } from 'node:worker_threads'
import { turnOffTelemetry } from '../../../src/core/engine/telemetry.ts'

/** Program of a worker thread: reports what turning telemetry off there says. */
try {
  turnOffTelemetry()
  parentPort?.postMessage('')
} catch (error) {
  parentPort?.postMessage((error as Error).message)
}
