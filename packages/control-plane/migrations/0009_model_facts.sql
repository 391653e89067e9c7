-- What model files say of themselves (architecture, base model, hash of the tensors), and their sizes.

alter table inventories
  -- Null: the agent has not read it, or does not.
  add column model_facts json;
