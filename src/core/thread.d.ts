/** The program of a thread as text; see threads.config.ts. */
declare module '*.ts?thread' {
  const program: string
  export default program
}
