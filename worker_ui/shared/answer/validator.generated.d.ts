/** What ajv's standalone code exports. */
declare const validate: {
  (data: unknown): boolean;
  errors?: readonly { readonly instancePath: string; readonly message?: string; readonly keyword: string }[] | null;
};
export default validate;
