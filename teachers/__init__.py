"""Where supervision comes from: endpoints, local models, and the little teacher that ships with the package."""
